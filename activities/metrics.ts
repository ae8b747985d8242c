import type { Store } from '../store/store.ts';
import type { AttemptPredicate } from '../lineage/attempt.ts';
import type { JobProgress } from './job-events.ts';
import type { StageRequest } from './stage-request.ts';

type Tags = Readonly<Record<string, string>>;

/** Where a worker counts; names and units follow Prometheus. */
export interface Meter {
  add(name: string, value: number, tags: Tags): void;
  /** A value that goes up and down. */
  set(name: string, value: number, tags: Tags): void;
  /** One more value of a distribution. */
  record(name: string, value: number, tags: Tags): void;
}

/** What Fretsaw counts beside Temporal's own metrics. docs/operations.md lists them. */
export class StageMetrics {
  readonly #meter: Meter | undefined;

  constructor(meter: Meter | undefined) {
    this.#meter = meter;
  }

  lookedUp({ hits, misses }: { hits: number; misses: number }): void {
    if (hits > 0) this.#meter?.add('fretsaw_cache_hits_total', hits, {});
    if (misses > 0) this.#meter?.add('fretsaw_cache_misses_total', misses, {});
  }

  /** Units a second (steps, tokens, answers) as a job tells them. */
  progressed({ kind, stage }: StageRequest, { rate, unit }: JobProgress): void {
    if (rate !== null) this.#meter?.set('fretsaw_job_rate', rate, { kind, stage, unit });
  }

  /** An attempt has ended: its time, and of a failed one what no snapshot has saved. */
  async attempted({ kind }: StageRequest, attempt: AttemptPredicate, store: Store): Promise<void> {
    if (this.#meter === undefined) return;
    const { outcome, failure, outputs, startedAt, finishedAt, resources } = attempt;
    const tags = { kind, outcome, code: failure?.code ?? '' };
    const seconds = secondsBetween(startedAt, finishedAt);
    const gpus = Number(resources['gpus'] ?? 0);
    this.#meter.record('fretsaw_attempt_duration_seconds', seconds, tags);
    this.#meter.add('fretsaw_gpu_seconds_total', seconds * gpus, tags);
    const bytes = Object.values(outputs ?? {}).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    this.#meter.add('fretsaw_output_bytes_total', bytes, { kind });
    if (outcome === 'done') return;
    const own = (await store.snapshots.list(attempt.key)).filter((one) => one.attempt === attempt.attempt);
    const savedAt =
      own
        .map(({ createdAt }) => createdAt)
        .sort()
        .at(-1) ?? startedAt;
    const lost = secondsBetween(savedAt, finishedAt);
    this.#meter.add('fretsaw_lost_seconds_total', lost, tags);
    this.#meter.add('fretsaw_lost_gpu_seconds_total', lost * gpus, tags);
  }
}

function secondsBetween(from: string, to: string): number {
  return Math.max(0, Date.parse(to) - Date.parse(from)) / 1000;
}
