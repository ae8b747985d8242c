import { closeSync, fstatSync, openSync, readSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

export interface StageProgress {
  attempt: number;
  step: number;
  total: number;
  unit: string;
  rate: number | null;
  /** Of the last step that told one. */
  loss: number | null;
}

const tailBytes = 8192;

/** How far a stage's newest job on this host says it is; undefined when it has said nothing here. */
export function readStageProgress(work: string, keyHex: string): StageProgress | undefined {
  const attempt = newestAttempt(work, keyHex);
  if (attempt === undefined) return undefined;
  const told = tail(join(work, keyHex, String(attempt), 'events.jsonl'))
    .split('\n')
    .map(parse)
    .filter((event) => event !== undefined);
  return { attempt, ...lastProgress(told), loss: lastLoss(told) };
}

/** Why a stage's newest job here was not forked off the warm engine; undefined when it was, or need not be. */
export function readColdStart(work: string, keyHex: string): string | undefined {
  const attempt = newestAttempt(work, keyHex);
  return attempt === undefined
    ? undefined
    : tail(join(work, keyHex, String(attempt), 'cold')).trim() || undefined;
}

function newestAttempt(work: string, keyHex: string): number | undefined {
  const attempts = entries(join(work, keyHex)).map(Number).filter(Number.isInteger);
  return attempts.length === 0 ? undefined : Math.max(...attempts);
}

function lastProgress(told: readonly ToldEvent[]): Omit<StageProgress, 'attempt' | 'loss'> {
  const last = told.findLast(({ event }) => event === 'progress');
  if (last === undefined) return { step: 0, total: 0, unit: '', rate: null };
  return {
    step: last.step ?? 0,
    total: last.total ?? 0,
    unit: last.unit ?? 'steps',
    rate: last.rate ?? null,
  };
}

function lastLoss(told: readonly ToldEvent[]): number | null {
  return told.findLast(({ values }) => typeof values?.loss === 'number')?.values?.loss ?? null;
}

/** `120/400 steps  3.2/s  1m 27s left` */
export function describeProgress(progress: StageProgress | undefined, measuredRate: number | null): string {
  if (progress === undefined || progress.total === 0) return '';
  const rate = progress.rate ?? measuredRate;
  const parts = [`${progress.step}/${progress.total} ${progress.unit}`];
  if (rate !== null && rate > 0) {
    parts.push(`${rate < 10 ? rate.toFixed(1) : Math.round(rate)}/s`);
    parts.push(`${describeSeconds((progress.total - progress.step) / rate)} left`);
  }
  if (progress.attempt > 1) parts.push(`attempt ${progress.attempt}`);
  return parts.join('  ');
}

export function describeSeconds(seconds: number): string {
  if (seconds < 60) return `${Math.max(0, seconds).toFixed(0)}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${Math.round(seconds % 60)}s`;
  return `${Math.floor(seconds / 3600)}h ${Math.round((seconds % 3600) / 60)}m`;
}

interface ToldEvent {
  event?: string;
  step?: number;
  total?: number;
  unit?: string;
  rate?: number | null;
  values?: { loss?: number };
}

function parse(line: string): ToldEvent | undefined {
  try {
    return JSON.parse(line) as ToldEvent;
  } catch {
    return undefined;
  }
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function tail(path: string): string {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return '';
  }
  try {
    const { size } = fstatSync(file);
    const buffer = Buffer.alloc(Math.min(size, tailBytes));
    readSync(file, buffer, 0, buffer.length, size - buffer.length);
    return buffer.toString('utf8');
  } finally {
    closeSync(file);
  }
}
