import { Failure } from '../core/errors.ts';
import { answerKey, scoreAnswer, type AnswerRecord } from './answer-record.ts';
import type { AnswerRequest, ModelRunner } from './model-runner.ts';
import type { EvaluateSettings } from './settings.ts';
import type { TaskExample } from './task-examples.ts';

export interface Evaluation {
  examples: readonly TaskExample[];
  settings: EvaluateSettings;
  /** Answers that an earlier attempt has; none of them is asked for again. */
  earlier: readonly AnswerRecord[];
  onAnswer(record: AnswerRecord): void;
  onTokens(count: number): void;
  shouldStop(): boolean;
}

/**
 * Every example at every effort, answered and scored: in the order of the data set, by effort within an example. Fewer
 * when it was asked to stop.
 */
export async function evaluate(runner: ModelRunner, evaluation: Evaluation): Promise<AnswerRecord[]> {
  const { examples, settings, earlier } = evaluation;
  const asked = new Map(
    examples.flatMap((example) =>
      settings.efforts.map((effort) => [answerKey(example.id, effort), { example, effort }] as const),
    ),
  );
  const records = new Map<string, AnswerRecord>();
  for (const record of earlier) {
    const key = answerKey(record.id, record.effort);
    if (!asked.has(key))
      throw new Failure('RESUME_DRIFT', `an earlier attempt answered ${record.id}, which is not asked`);
    records.set(key, record);
  }
  const requests = [...asked].flatMap(([key, { example, effort }]): AnswerRequest[] => {
    if (records.has(key)) return [];
    const maxNewTokens = settings.maxNewTokens.get(effort);
    if (maxNewTokens === undefined) throw new Error(`bug: no cap for effort ${effort}`);
    return [{ id: key, messages: example.messages, effort, maxNewTokens }];
  });
  await runner.generate(requests, {
    decoding: settings.decoding,
    onAnswer: (answer) => {
      const question = asked.get(answer.id);
      if (question === undefined) throw new Error(`bug: an answer to ${answer.id}`);
      const record = scoreAnswer(question.example, question.effort, answer);
      records.set(answer.id, record);
      evaluation.onAnswer(record);
    },
    onTokens: (count) => {
      evaluation.onTokens(count);
    },
    shouldStop: () => evaluation.shouldStop(),
  });
  return [...asked.keys()].flatMap((key) => records.get(key) ?? []);
}
