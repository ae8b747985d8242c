import { open } from 'node:fs/promises';
import { isFailureCode, type FailureCode } from '../core/errors.ts';
import { readText } from './job-folder.ts';

export interface JobProgress {
  step: number;
  total: number;
  unit: string;
  /** Units a second as the job itself measured it. */
  rate: number | null;
  /** Of the last step that told one. */
  loss: number | null;
}

export interface FailedEvent {
  at: number;
  rank: number;
  code: FailureCode;
  message: string;
  details: Record<string, unknown>;
}

const partBytes = 16_384;

/** Signs of life of a job, from the end of its events file. */
export interface JobSigns {
  progress: JobProgress | undefined;
  /** When it last told anything; undefined before the first event. */
  saidAtMs: number | undefined;
  /** Median time between steps that it told; undefined while there are fewer than four. */
  usualGapMs: number | undefined;
}

export async function readSigns(path: string): Promise<JobSigns> {
  const events = (await readTail(path))
    .split('\n')
    .map(parseEvent)
    .filter((event) => event !== undefined);
  const steps = events.filter((event) => event['event'] === 'progress');
  const last = steps.at(-1);
  const times = steps.map((event) => event['at']).filter((at) => typeof at === 'number');
  const gaps = times.slice(1).map((at, index) => (at - (times[index] ?? at)) * 1000);
  const saidAt = events.at(-1)?.['at'];
  return {
    progress: last === undefined ? undefined : { ...toProgress(last), loss: lastLoss(events) },
    saidAtMs: typeof saidAt === 'number' ? saidAt * 1000 : undefined,
    usualGapMs: gaps.length < 3 ? undefined : gaps.sort((a, b) => a - b)[Math.floor(gaps.length / 2)],
  };
}

/** What a job said that it runs on; empty for one that never came so far, and for a user's command. */
export interface JobEnvironment {
  versions: Record<string, string>;
  machine: Record<string, string | number>;
}

export async function readEnvironment(path: string): Promise<JobEnvironment> {
  const line = (await readHead(path)).split('\n').find((text) => text.includes('"environment"'));
  const event = line === undefined ? undefined : parseEvent(line);
  const texts = (value: unknown): [string, unknown][] => (isRecord(value) ? Object.entries(value) : []);
  return {
    versions: Object.fromEntries(
      texts(event?.['versions']).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    ),
    machine: Object.fromEntries(
      texts(event?.['machine']).filter(
        (entry): entry is [string, string | number] =>
          typeof entry[1] === 'string' || typeof entry[1] === 'number',
      ),
    ),
  };
}

/** The failure that came first: later ones are usually its echo on other ranks. */
export async function readFirstFailure(path: string): Promise<FailedEvent | undefined> {
  const text = (await readText(path)) ?? '';
  const failures = text
    .split('\n')
    .filter((line) => line.includes('"failed"'))
    .map(parseEvent)
    .filter((event) => event?.['event'] === 'failed')
    .map((event) => toFailure(event ?? {}));
  return failures.sort((a, b) => a.at - b.at)[0];
}

function toProgress(event: Record<string, unknown>): Omit<JobProgress, 'loss'> {
  const { step, total, unit, rate } = event;
  return {
    step: typeof step === 'number' ? step : 0,
    total: typeof total === 'number' ? total : 0,
    unit: typeof unit === 'string' ? unit : 'steps',
    rate: typeof rate === 'number' ? rate : null,
  };
}

function lastLoss(events: readonly Record<string, unknown>[]): number | null {
  const losses = events.map(({ values }) => (isRecord(values) ? values['loss'] : undefined));
  return losses.findLast((loss) => typeof loss === 'number') ?? null;
}

function toFailure(event: Record<string, unknown>): FailedEvent {
  const { at, rank, code, message, details } = event;
  return {
    at: typeof at === 'number' ? at : 0,
    rank: typeof rank === 'number' ? rank : 0,
    code: typeof code === 'string' && isFailureCode(code) ? code : 'ENGINE_BUG',
    message: typeof message === 'string' ? message : 'no message',
    details: isRecord(details) ? details : {},
  };
}

/** Undefined for the half line at either end of what was read. */
function parseEvent(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function readTail(path: string): Promise<string> {
  return readPart(path, (sizeBytes) => Math.max(0, sizeBytes - partBytes));
}

function readHead(path: string): Promise<string> {
  return readPart(path, () => 0);
}

/** `partBytes` of a file from where `from` says; empty when there is none. */
async function readPart(path: string, from: (sizeBytes: number) => number): Promise<string> {
  let file;
  try {
    file = await open(path, 'r');
  } catch {
    return '';
  }
  try {
    const { size } = await file.stat();
    const { buffer, bytesRead } = await file.read(Buffer.alloc(partBytes), 0, partBytes, from(size));
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}
