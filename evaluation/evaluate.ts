import { Failure } from '../core/errors.ts';
import { answerKey, keyOf, toRecord, withScore, type AnswerRecord } from './answer-record.ts';
import type { AnswerRequest, ModelRunner } from './model-runner.ts';
import { score, scoreNow, type ScoringTools } from './scorers/score.ts';
import type { EvaluateSettings } from './settings.ts';
import type { TaskExample } from './task-examples.ts';

export interface Evaluation {
  examples: readonly TaskExample[];
  settings: EvaluateSettings;
  tools: ScoringTools;
  /** Answers that an earlier attempt has; none of them is asked for again, only scored where it was not. */
  earlier: readonly AnswerRecord[];
  /** Called when an answer has come, and again when it is scored where that takes time. */
  onAnswer(record: AnswerRecord): void;
  onTokens(count: number): void;
  shouldStop(): boolean;
}

interface Asked {
  example: TaskExample;
  effort: string;
  sample: number;
}

/**
 * Every example at every effort, answered and scored: in the order of the data set, by effort and sample within an example.
 * Fewer when it was asked to stop.
 */
export async function evaluate(runner: ModelRunner, evaluation: Evaluation): Promise<AnswerRecord[]> {
  const { settings, earlier } = evaluation;
  const asked = whatToAsk(evaluation);
  const records = new Map<string, AnswerRecord>();
  const scoring = new Scoring(evaluation, records);
  for (const record of earlier) {
    const question = asked.get(keyOf(record));
    if (question === undefined)
      throw new Failure('RESUME_DRIFT', `an earlier attempt answered ${record.id}, which is not asked`);
    records.set(keyOf(record), record);
    if (record.correct === null) scoring.begin(question.example, record);
  }
  const requests = [...asked].flatMap(([key, { example, effort }]): AnswerRequest[] => {
    if (records.has(key)) return [];
    const maxNewTokens = example.maxNewTokens ?? settings.maxNewTokens.get(effort);
    if (maxNewTokens === undefined) throw new Failure('BAD_INPUT', `no cap for effort ${effort}`);
    return [{ id: key, messages: example.messages, effort, maxNewTokens }];
  });
  await runner.generate(requests, {
    decoding: settings.decoding,
    onAnswer: (answer) => {
      const question = asked.get(answer.id);
      if (question === undefined) throw new Error(`bug: an answer to ${answer.id}`);
      const record = toRecord(question.example, question, answer);
      records.set(answer.id, record);
      scoring.begin(question.example, record);
    },
    onTokens: (count) => {
      evaluation.onTokens(count);
    },
    shouldStop: () => evaluation.shouldStop(),
  });
  await scoring.done();
  return [...asked.keys()].flatMap((key) => records.get(key) ?? []);
}

function whatToAsk({ examples, settings }: Evaluation): Map<string, Asked> {
  return new Map(
    examples.flatMap((example) =>
      (example.efforts ?? settings.efforts).flatMap((effort) =>
        Array.from(
          { length: example.samples ?? settings.samples },
          (_, sample) => [answerKey(example.id, effort, sample), { example, effort, sample }] as const,
        ),
      ),
    ),
  );
}

/** Judges and code run beside the model, a few at once; everything else is scored before the next token. */
class Scoring {
  readonly #evaluation: Evaluation;
  readonly #records: Map<string, AnswerRecord>;
  readonly #waiting: (() => Promise<void>)[] = [];
  readonly #open = new Set<Promise<void>>();
  #failure: unknown;

  constructor(evaluation: Evaluation, records: Map<string, AnswerRecord>) {
    this.#evaluation = evaluation;
    this.#records = records;
  }

  begin(example: TaskExample, record: AnswerRecord): void {
    const now = scoreNow(example, record.final);
    if (now !== undefined) {
      this.#tell(withScore(record, now));
      return;
    }
    if (!this.#evaluation.earlier.includes(record)) this.#evaluation.onAnswer(record);
    this.#waiting.push(async () => {
      this.#tell(withScore(record, await score(example, record.final, this.#evaluation.tools)));
    });
    this.#next();
  }

  async done(): Promise<void> {
    while (this.#open.size > 0 && !this.#evaluation.shouldStop()) await Promise.race(this.#open);
    await Promise.allSettled(this.#open);
    if (this.#failure !== undefined) throw this.#failure as Error;
  }

  #tell(scored: AnswerRecord): void {
    this.#records.set(keyOf(scored), scored);
    this.#evaluation.onAnswer(scored);
  }

  #next(): void {
    if (this.#open.size >= scoringsAtOnce || this.#evaluation.shouldStop()) return;
    const work = this.#waiting.shift();
    if (work === undefined) return;
    const running = work()
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .finally(() => {
        this.#open.delete(running);
        this.#next();
      });
    this.#open.add(running);
  }
}

const scoringsAtOnce = 4;
