import { open, type FileHandle } from 'node:fs/promises';
import type { Work } from './execute-stage.ts';
import type { JobFolder } from './job-folder.ts';

const pieceBytes = 1 << 20;
/** Shorter ones would be found where they are not meant. */
const shortestValue = 4;
const shortestLine = 16;

/**
 * Overwrites the values of a stage's secrets in what its job has told: log, logs of ranks, events. They stay as long as they were, so
 * that a job still writing is not disturbed. What a program does to a value before it prints it (base64, a part of it) is not found.
 */
export async function maskSecrets({ deps, request, launcher }: Work, folder: JobFolder): Promise<void> {
  const values = request.secrets.flatMap((name) => patternsOf(deps.secret(name) ?? ''));
  if (values.length === 0) return;
  for (const file of [...(await launcher.logs(folder)), folder.events]) await maskFile(file, values);
}

/** A value of many lines (a key in PEM) may be printed with another indentation: each of its lines counts. */
function patternsOf(value: string): Buffer[] {
  const lines = value.split('\n').map((line) => line.trim());
  const wanted = lines.length > 1 ? lines.filter((line) => line.length >= shortestLine) : lines;
  return wanted.filter((line) => line.length >= shortestValue).map((line) => Buffer.from(line));
}

async function maskFile(path: string, values: readonly Buffer[]): Promise<void> {
  let file: FileHandle;
  try {
    file = await open(path, 'r+');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
    throw error;
  }
  try {
    const overlap = Math.max(...values.map(({ length }) => length)) - 1;
    const piece = Buffer.alloc(pieceBytes + overlap);
    for (let at = 0; ; at += pieceBytes) {
      const { bytesRead } = await file.read(piece, 0, piece.length, at);
      for (const value of values) await maskPiece(file, { text: piece.subarray(0, bytesRead), at }, value);
      if (bytesRead < piece.length) return;
    }
  } finally {
    await file.close();
  }
}

async function maskPiece(
  file: FileHandle,
  { text, at }: { text: Buffer; at: number },
  value: Buffer,
): Promise<void> {
  for (let found = text.indexOf(value); found >= 0; found = text.indexOf(value, found + value.length)) {
    await file.write(Buffer.alloc(value.length, '*'), 0, value.length, at + found);
  }
}
