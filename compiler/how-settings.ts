import { defaultAnswers, failureAnswers, failureCodes, type FailureCode } from '../core/errors.ts';
import { anyOf, choice, flag, integer, number, record, text, type Setting } from '../kinds/setting.ts';
import { endpointSetting, judgeSetting } from './endpoint-setting.ts';

export const resourcesSetting = record('What one attempt may use. Never part of the key.', {
  cpus: integer('CPU cores.', { default: 1, minimum: 1, maximum: 4096 }),
  gpus: integer('GPUs over all hosts.', { default: 0, minimum: 0, maximum: 65_536 }),
  micro_batch: integer('Sequences on a device at once; the rest of the batch accumulates.', { minimum: 1 }),
  context_parallel: integer('GPUs that share one training sequence, each with its part of the tokens.', {
    minimum: 1,
  }),
  recompute_activations: integer('1: activations are computed again in the backward pass, not kept.', {
    minimum: 0,
    maximum: 1,
  }),
  keep_snapshots: integer('Newest snapshots of an attempt that are kept; all when absent.', { minimum: 1 }),
  keep_every: integer('Beside those, every snapshot whose step is a multiple of this is kept.', {
    minimum: 1,
    unit: 'steps',
  }),
  memory_gib: number('Host memory.', { exclusiveMinimum: 0, unit: 'GiB' }),
  endpoint: endpointSetting,
  judge: judgeSetting,
});

/** Only running out of memory is mended by a smaller batch. */
function answersTo(code: FailureCode): readonly string[] {
  return failureAnswers.filter((answer) => answer !== 'smaller_batch' || code === 'OUT_OF_MEMORY');
}

const answerSettings: Readonly<Record<string, Setting>> = Object.fromEntries(
  failureCodes.map((code) => [code, choice(`Else: ${defaultAnswers[code]}.`, answersTo(code))]),
);

export const retrySetting = record('How often a stage is tried in all, and what is tried again.', {
  attempts: integer('Attempts; each goes on from the newest snapshot.', {
    default: 3,
    minimum: 1,
    maximum: 1000,
  }),
  on: record('What to do about a failure, by its code.', answerSettings),
  stalled: record(
    'When a job that tells nothing counts as stalled: both must have passed.',
    {
      times: number('So many times the usual gap between its steps.', { default: 20, minimum: 2 }),
      seconds: number('At least so long; until its usual gap is known this stands for it.', {
        default: 600,
        exclusiveMinimum: 0,
        unit: 'seconds',
      }),
    },
    { default: { times: 20, seconds: 600 } },
  ),
});

export const budgetSetting = record('Where a stage stops by itself; at 80 % it is told.', {
  hours: number('Wall clock of one attempt.', { exclusiveMinimum: 0, unit: 'hours' }),
  gpu_hours: number('GPU hours over all attempts.', { exclusiveMinimum: 0, unit: 'GPU hours' }),
});

export const runBudgetSetting = record('Where a run stops by itself; at 80 % it is told.', {
  gpu_hours: number('GPU hours of all its stages.', { exclusiveMinimum: 0, unit: 'GPU hours' }),
});

export const approveSetting = anyOf('A person must agree before it is run.', [
  text('The question that the person is asked.', { minLength: 1 }),
  flag('true: ask whether to start it.'),
]);
