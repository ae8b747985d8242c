import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hexOf } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';

/** Attempts whose job folder is on this host, newest first. */
export async function attemptsHere(work: string, key: StageKey): Promise<number[]> {
  const names = await readdir(join(work, hexOf(key))).catch(() => []);
  return names
    .map(Number)
    .filter(Number.isInteger)
    .sort((a, b) => b - a);
}

export function logPath(work: string, key: StageKey, attempt: number): string {
  return join(work, hexOf(key), String(attempt), 'log');
}

export async function lastLogLines(work: string, key: StageKey, attempt: number): Promise<string[]> {
  const text = await readFile(logPath(work, key, attempt), 'utf8').catch(() => '');
  return text === '' ? [] : text.trimEnd().split('\n').slice(-10);
}
