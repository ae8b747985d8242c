import { Failure } from '../../core/errors.ts';
import type { Endpoint } from '../endpoint/chat-client.ts';
import { isCorrect as isCorrectText } from '../scorers.ts';
import type { TaskExample } from '../task-examples.ts';
import { chosenLetter } from './choice.ts';
import { followsAll } from './format-checks.ts';
import { askJudge, defaultRubric } from './judge.ts';
import { equalMath, mathAnswer } from './math.ts';
import { recallShare } from './recall.ts';
import { runPython } from './sandbox.ts';

export interface Score {
  isCorrect: boolean;
  /** What the scorer took for the answer, for majorities; null where it found none, or answers cannot be compared. */
  extracted: string | null;
  /** Judges that voted with the majority, and against it. */
  votes?: { agreeing: number; votes: number };
  /** Why there is no score: it counts as wrong, and is told. */
  error?: string;
}

export interface ScoringTools {
  judge: Endpoint | undefined;
}

/** Scores what stood in the final channel; undefined for what takes time. No final channel is wrong, whatever the analysis said. */
export function scoreNow({ scorer, answer }: TaskExample, final: string | null): Score | undefined {
  if (final === null) return { isCorrect: false, extracted: null };
  switch (scorer.kind) {
    case 'exact':
    case 'number':
      return { isCorrect: isCorrectText(scorer.kind, answer, final), extracted: final.trim() };
    case 'choice': {
      const extracted = chosenLetter(final, scorer.choices);
      return { isCorrect: extracted === answer, extracted };
    }
    case 'math': {
      const extracted = mathAnswer(final);
      return { isCorrect: equalMath(answer, extracted), extracted };
    }
    case 'recall':
      return { isCorrect: recallShare(final, scorer.references, scorer.part) === 1, extracted: null };
    case 'format':
      return { isCorrect: followsAll(final, scorer.instructions, scorer.isLoose), extracted: null };
    case 'code':
    case 'judge':
      return undefined;
  }
}

/** Any scorer. */
export async function score(example: TaskExample, final: string | null, tools: ScoringTools): Promise<Score> {
  const now = scoreNow(example, final);
  if (now !== undefined || final === null) return now ?? { isCorrect: false, extracted: null };
  const { scorer } = example;
  if (scorer.kind === 'code') return await scoreCode(scorer, final);
  if (scorer.kind !== 'judge') throw new Error(`bug: ${scorer.kind} takes no time`);
  return await scoreByJudge(example, { final, rubric: scorer.rubric, votes: scorer.votes }, tools);
}

async function scoreCode(
  {
    prelude,
    tests,
    seconds,
    memoryMiB,
  }: { prelude: string; tests: string; seconds: number; memoryMiB: number },
  final: string,
): Promise<Score> {
  const blocks = [...final.matchAll(/```(?:python|py)?[^\S\n]*\n([\s\S]*?)```/g)];
  const code = blocks.length === 0 ? final : blocks.map((block) => block[1] ?? '').join('\n');
  const end = await runPython([prelude, code, tests].join('\n\n'), { seconds, memoryMiB });
  return { isCorrect: end.kind === 'passed', extracted: null };
}

async function scoreByJudge(
  { messages, answer }: TaskExample,
  { final, rubric, votes }: { final: string; rubric: string | undefined; votes: number },
  { judge }: ScoringTools,
): Promise<Score> {
  if (judge === undefined) throw new Failure('BAD_INPUT', 'a task of this data set needs a judge');
  const question = messages.map(({ content }) => content).join('\n\n');
  const asked = { question, expected: answer, answer: final, rubric: rubric ?? defaultRubric };
  const judgement = await askJudge(judge, asked, { votes, tries: 3 });
  if (judgement.kind === 'undecided')
    return { isCorrect: false, extracted: null, error: `judge: ${judgement.reason}` };
  const { isCorrect, agreeing, votes: cast } = judgement;
  return { isCorrect, extracted: null, votes: { agreeing, votes: cast } };
}
