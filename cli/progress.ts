import { closeSync, fstatSync, openSync, readSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

export interface StageProgress {
  attempt: number;
  step: number;
  total: number;
  unit: string;
  rate: number | null;
}

const tailBytes = 8192;

/** How far a stage's newest job on this host says it is; undefined when it has said nothing here. */
export function readStageProgress(work: string, keyHex: string): StageProgress | undefined {
  const attempts = entries(join(work, keyHex)).map(Number).filter(Number.isInteger);
  if (attempts.length === 0) return undefined;
  const attempt = Math.max(...attempts);
  const lines = tail(join(work, keyHex, String(attempt), 'events.jsonl'))
    .split('\n')
    .reverse();
  for (const line of lines) {
    if (!line.includes('"progress"')) continue;
    const event = parse(line);
    if (event?.event !== 'progress') continue;
    return {
      attempt,
      step: event.step ?? 0,
      total: event.total ?? 0,
      unit: event.unit ?? 'steps',
      rate: event.rate ?? null,
    };
  }
  return { attempt, step: 0, total: 0, unit: '', rate: null };
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

interface ProgressEvent {
  event?: string;
  step?: number;
  total?: number;
  unit?: string;
  rate?: number | null;
}

function parse(line: string): ProgressEvent | undefined {
  try {
    return JSON.parse(line) as ProgressEvent;
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
