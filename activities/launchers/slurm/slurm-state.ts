import type { FailureCode } from '../../../core/errors.ts';

/** What the scheduler says of one job. */
export interface SlurmJob {
  id: string;
  name: string;
  /** JOB STATE CODES of squeue(1), in full: RUNNING, NODE_FAIL. */
  state: string;
  /** JOB REASON CODES: why it is pending or has failed; `None`. */
  reason: string;
  wasPreempted?: boolean;
}

/** States in which a job may still compute; every other one is an end. */
const active: ReadonlySet<string> = new Set([
  'PENDING',
  'CONFIGURING',
  'RUNNING',
  'COMPLETING',
  'SUSPENDED',
  'STOPPED',
  'SIGNALING',
  'STAGE_OUT',
  'RESIZING',
  'REQUEUED',
  'REQUEUE_FED',
  'REQUEUE_HOLD',
  'SPECIAL_EXIT',
  'RESV_DEL_HOLD',
]);

export function isActive({ state }: SlurmJob): boolean {
  return active.has(state);
}

/** Code and words for a job that ended and left no done-manifest; undefined when the scheduler knows no more than the job. */
export function causeOf(job: SlurmJob): { code: FailureCode; message: string } | undefined {
  const said = `Slurm job ${job.id}: ${job.state}${job.reason === 'None' ? '' : `, ${job.reason}`}`;
  if (job.wasPreempted === true) return { code: 'PREEMPTED', message: `${said}, preempted` };
  // While a job is COMPLETING, that hides how it ended; the reason does not.
  const code = job.reason === 'NodeDown' ? 'NODE_LOST' : codes[job.state];
  return code === undefined ? undefined : { code, message: said };
}

const codes: Readonly<Record<string, FailureCode>> = {
  PREEMPTED: 'PREEMPTED',
  NODE_FAIL: 'NODE_LOST',
  BOOT_FAIL: 'NODE_LOST',
  LAUNCH_FAILED: 'NODE_LOST',
  RECONFIG_FAIL: 'NODE_LOST',
  // By an administrator: Fretsaw asks for no cause of what it stopped itself.
  CANCELLED: 'NODE_LOST',
  REVOKED: 'NODE_LOST',
  OUT_OF_MEMORY: 'OUT_OF_MEMORY',
  TIMEOUT: 'TIMEOUT',
  DEADLINE: 'TIMEOUT',
};

/** `id|STATE|reason|name` lines of squeue. A name may hold anything but a line break. */
export function parseQueue(text: string): SlurmJob[] {
  return text.split('\n').flatMap((line) => {
    const [id, state, reason, ...name] = line.trim().split('|');
    if (id === undefined || state === undefined || reason === undefined) return [];
    return [{ id, state, reason, name: name.join('|') }];
  });
}

/** `scontrol show job --oneliner`: `Key=Value` pairs; the two that matter have no spaces in them. */
export function parseShown(id: string, text: string): SlurmJob | undefined {
  const field = (key: string): string | undefined => new RegExp(`(?:^|\\s)${key}=(\\S+)`).exec(text)?.[1];
  const state = field('JobState');
  if (state === undefined) return undefined;
  const preempted = field('PreemptTime');
  return {
    id,
    name: field('JobName') ?? '',
    state,
    reason: field('Reason') ?? 'None',
    wasPreempted: preempted !== undefined && preempted !== 'None',
  };
}

/** `sacct --parsable2 --format=JobID,JobName,State`; `CANCELLED by 0` is CANCELLED. */
export function parseAccounting(id: string, text: string): SlurmJob | undefined {
  for (const line of text.split('\n')) {
    const [found, name = '', state = ''] = line.split('|');
    const word = state.split(' ')[0] ?? '';
    if (found === id && word !== '') return { id, name, state: word, reason: 'None' };
  }
  return undefined;
}
