import type { StoredSnapshot } from '../store/store.ts';
import type { AttemptNote } from './record.ts';

/** Time of attempts that ended badly and that no later attempt could build on. */
export interface Waste {
  attempts: number;
  failed: number;
  /** Wall seconds of all attempts. */
  totalSeconds: number;
  /** Of those, what was lost: from the snapshot that was gone on from (or the start) to the failure. */
  wastedSeconds: number;
  /** GPU hours of all attempts, and of those the lost ones. */
  gpuHours: number;
  wastedGpuHours: number;
  /** How often each cause ended an attempt. */
  causes: { [code: string]: number };
}

export function wasteOf(attempts: readonly AttemptNote[], snapshots: readonly StoredSnapshot[]): Waste {
  const failed = attempts.filter(({ outcome }) => outcome === 'failed');
  const wasted = failed.map((attempt) => ({ gpus: gpusOf(attempt), seconds: lostSeconds(attempt) }));
  const causes: Waste['causes'] = {};
  for (const { failure } of failed)
    if (failure !== undefined) causes[failure.code] = (causes[failure.code] ?? 0) + 1;

  function lostSeconds(attempt: AttemptNote): number {
    const used = attempts.flatMap(({ resumedFrom }) =>
      resumedFrom?.attempt === attempt.attempt ? [resumedFrom.step] : [],
    );
    const taken = snapshots.filter((one) => one.attempt === attempt.attempt && used.includes(one.step));
    const saved = Math.max(
      Date.parse(attempt.startedAt),
      ...taken.map(({ createdAt }) => Date.parse(createdAt)),
    );
    return Math.max(0, Date.parse(attempt.finishedAt) - saved) / 1000;
  }

  return {
    attempts: attempts.length,
    failed: failed.length,
    totalSeconds: attempts.reduce(
      (sum, { startedAt, finishedAt }) => sum + seconds(startedAt, finishedAt),
      0,
    ),
    wastedSeconds: wasted.reduce((sum, each) => sum + each.seconds, 0),
    gpuHours: attempts.reduce(
      (sum, one) => sum + (gpusOf(one) * seconds(one.startedAt, one.finishedAt)) / 3600,
      0,
    ),
    wastedGpuHours: wasted.reduce((sum, each) => sum + (each.gpus * each.seconds) / 3600, 0),
    causes,
  };
}

function seconds(from: string, to: string): number {
  return Math.max(0, Date.parse(to) - Date.parse(from)) / 1000;
}

function gpusOf({ resources }: AttemptNote): number {
  return typeof resources['gpus'] === 'number' ? resources['gpus'] : 0;
}
