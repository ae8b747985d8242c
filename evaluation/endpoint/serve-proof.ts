import { Failure, isFailure } from '../../core/errors.ts';
import { JsonFields } from '../json-fields.ts';
import type { AnswerRequest, ModelAnswer, ModelRunner } from '../model-runner.ts';

/** How it is known that a server serves the checkpoint that a stage has as its input. */
export type ServeProof =
  /** The stage started the server itself, from the verified folder. */
  | { kind: 'launched' }
  /** The server names the digest of what it loaded (`fretsaw serve`). */
  | { kind: 'declared' }
  /** Greedy answers of the server are, token for token, those of the exported model in this process. */
  | { kind: 'probed'; answers: number; tokens: number };

export interface ModelCard {
  id: string;
  digest: string | undefined;
}

/** GET /v1/models; ENDPOINT_DOWN when nothing answers. */
export async function readModelCards(url: string, apiKey: string | undefined): Promise<ModelCard[]> {
  const headers: Record<string, string> = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` };
  let text: string;
  try {
    const response = await fetch(`${url}/v1/models`, { headers, signal: AbortSignal.timeout(30_000) });
    text = await response.text();
    if (!response.ok) throw new Error(`status ${response.status}: ${text.slice(0, 200)}`);
  } catch (error) {
    throw new Failure('ENDPOINT_DOWN', `${url}/v1/models: ${String(error)}`, { cause: error });
  }
  try {
    return JsonFields.parse(text, `${url}/v1/models`).records('data').map(readCard);
  } catch (error) {
    if (!isFailure(error)) throw error;
    throw new Failure('BAD_INPUT', `${url} is no OpenAI-compatible server: ${error.message}`, {
      cause: error,
    });
  }
}

function readCard(fields: JsonFields): ModelCard {
  const digest = fields.has('fretsaw') ? fields.record('fretsaw').text('digest') : undefined;
  return { id: fields.text('id'), digest };
}

/** The card of `model`; DIGEST_MISMATCH when it names another checkpoint than `digest`. */
export function requireServed(cards: readonly ModelCard[], model: string, digest: string): ModelCard {
  const card = cards.find(({ id }) => id === model);
  if (card === undefined) {
    const known = cards.map(({ id }) => id).join(', ') || 'none';
    throw new Failure('BAD_INPUT', `the server has no model ${model}; it has ${known}`);
  }
  if (card.digest !== undefined && card.digest !== digest) {
    throw new Failure('DIGEST_MISMATCH', `expected a server of ${digest}, ${model} is ${card.digest}`);
  }
  return card;
}

/** A server that serves another model answers some question otherwise: DIGEST_MISMATCH with the first one. */
export async function probeServed(
  server: ModelRunner,
  here: ModelRunner,
  questions: readonly AnswerRequest[],
): Promise<ServeProof> {
  const [theirs, ours] = [await answersOf(server, questions), await answersOf(here, questions)];
  let tokens = 0;
  for (const { id } of questions) {
    const [their, our] = [theirs.get(id), ours.get(id)];
    if (our === undefined || their === undefined || their.error !== null)
      throw new Failure('ENDPOINT_DOWN', `probe ${id}: ${their?.error ?? 'no answer'}`);
    tokens += our.tokens;
    if (sameAnswer(their, our)) continue;
    throw new Failure(
      'DIGEST_MISMATCH',
      `the server does not answer as the checkpoint does: probe ${id}: expected ${show(our)}, found ${show(their)}`,
    );
  }
  return { kind: 'probed', answers: questions.length, tokens };
}

function sameAnswer(their: ModelAnswer, our: ModelAnswer): boolean {
  if (their.tokenIds !== null) return JSON.stringify(their.tokenIds) === JSON.stringify(our.tokenIds);
  return their.final === our.final && their.tokens === our.tokens && their.analysis === our.analysis;
}

async function answersOf(
  runner: ModelRunner,
  questions: readonly AnswerRequest[],
): Promise<Map<string, ModelAnswer>> {
  const answers = new Map<string, ModelAnswer>();
  await runner.generate(questions, {
    decoding: { kind: 'greedy' },
    onAnswer: (answer) => answers.set(answer.id, answer),
    onTokens: () => undefined,
    shouldStop: () => false,
  });
  return answers;
}

function show({ tokenIds, final, tokens }: ModelAnswer): string {
  const text = tokenIds === null ? JSON.stringify(final) : `ids ${tokenIds.slice(0, 12).join(' ')}`;
  return `${tokens} tokens, ${text}`;
}
