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
}

export function wasteOf(attempts: readonly AttemptNote[], snapshots: readonly StoredSnapshot[]): Waste {
  const failed = attempts.filter(({ outcome }) => outcome === 'failed');
  const wasted = failed.map((attempt) => {
    const used = attempts.flatMap(({ resumedFrom }) =>
      resumedFrom?.attempt === attempt.attempt ? [resumedFrom.step] : [],
    );
    const taken = snapshots.filter((one) => one.attempt === attempt.attempt && used.includes(one.step));
    const saved = Math.max(
      Date.parse(attempt.startedAt),
      ...taken.map(({ createdAt }) => Date.parse(createdAt)),
    );
    return Math.max(0, Date.parse(attempt.finishedAt) - saved) / 1000;
  });
  return {
    attempts: attempts.length,
    failed: failed.length,
    totalSeconds: attempts.reduce(
      (sum, { startedAt, finishedAt }) => sum + seconds(startedAt, finishedAt),
      0,
    ),
    wastedSeconds: wasted.reduce((sum, each) => sum + each, 0),
  };
}

function seconds(from: string, to: string): number {
  return Math.max(0, Date.parse(to) - Date.parse(from)) / 1000;
}
