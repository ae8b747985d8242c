import { expect, test } from 'vitest';
import { causeOf, parseShown } from '../../../activities/launchers/slurm/slurm-state.ts';

/** `scontrol show job --oneliner` of Slurm 22.05, shortened. */
function shown(state: string, reason: string): string {
  return `JobId=7 JobName=fretsaw-a-1 UserId=root(0) JobState=${state} Reason=${reason} Dependency=(null) Requeue=0 PreemptTime=None NodeList=n3`;
}

test.each([
  ['NODE_FAIL', 'NodeDown', 'NODE_LOST'],
  ['COMPLETING', 'NodeDown', 'NODE_LOST'],
  ['COMPLETING', 'None', undefined],
  ['OUT_OF_MEMORY', 'OutOfMemory', 'OUT_OF_MEMORY'],
  ['TIMEOUT', 'TimeLimit', 'TIMEOUT'],
  ['FAILED', 'NonZeroExitCode', undefined],
])('a job that is %s for the reason %s has the code %s', (state, reason, code) => {
  const job = parseShown('7', shown(state, reason));
  expect(job && causeOf(job)?.code).toBe(code);
});
