import { randomBytes } from 'node:crypto';
import { appendFileSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../disk/make-folder.ts';
import type { PlacedPiece } from './layout.ts';

/** Above so many files they are merged into one. */
const mergeAbove = 8;
/** piece, pack, pack's size, offset, length, check. */
const recordBytes = 32 + 32 + 4 * 4;
const layoutMark = 0xffffffff;

/** What a process has learnt of the store's pieces, for the next one. Only a cache: whatever is lost is learnt again. */
export interface IndexJournal {
  read(into: { piece: (piece: PlacedPiece) => void; layout: (name: LayoutName) => void }): void;
  append(pieces: readonly PlacedPiece[], layouts: readonly LayoutName[]): void;
  /** Replaces all files by one. */
  rewrite(pieces: Iterable<PlacedPiece>, layouts: Iterable<LayoutName>): void;
}

/** A layout whose pieces are in the journal. */
export interface LayoutName {
  sha256: string;
  generation: number;
}

/**
 * Files of fixed records in `folder`, one file a process, appended to. A record carries a check, so that
 * a torn or rotten one is passed over: a wrong place would make a layout that cannot be read.
 */
export function createIndexJournal(folder: string): IndexJournal {
  const own = join(folder, `${process.pid}-${randomBytes(6).toString('hex')}.pieces`);
  let found: string[] = [];

  function append(path: string, records: readonly Buffer[]): void {
    if (records.length === 0) return;
    try {
      makeFolder(folder);
      appendFileSync(path, Buffer.concat(records));
    } catch {
      // A full or read-only disk: the store says so where it matters; a cache may stay as it is.
    }
  }

  return {
    read(into) {
      found = filesIn(folder);
      for (const path of found) for (const record of recordsOf(path)) take(record, into);
    },
    append: (pieces, layouts) => {
      append(own, [...pieces.map(pieceRecord), ...layouts.map(layoutRecord)]);
    },
    rewrite(pieces, layouts) {
      if (found.length <= mergeAbove) return;
      const target = join(folder, `merged-${randomBytes(6).toString('hex')}.pieces`);
      const partial = `${target}.partial`;
      try {
        writeFileSync(partial, '', { flag: 'wx' });
        for (const records of inBatches(pieces, pieceRecord)) appendFileSync(partial, records);
        for (const records of inBatches(layouts, layoutRecord)) appendFileSync(partial, records);
        renameSync(partial, target);
        for (const path of found) rmSync(path, { force: true });
      } catch {
        rmSync(partial, { force: true });
      }
    },
  };
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.pieces'))
      .map((name) => join(folder, name));
  } catch {
    return [];
  }
}

function* recordsOf(path: string): Iterable<Buffer> {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch {
    return; // another process has just merged it
  }
  for (let at = 0; at + recordBytes <= bytes.length; at += recordBytes) {
    const record = bytes.subarray(at, at + recordBytes);
    if (record.readUInt32LE(recordBytes - 4) === check(record)) yield record;
  }
}

function take(record: Buffer, into: Parameters<IndexJournal['read']>[0]): void {
  const sha256 = record.toString('hex', 0, 32);
  const [sizeBytes, offset, length] = [64, 68, 72].map((at) => record.readUInt32LE(at));
  if (sizeBytes === undefined || offset === undefined || length === undefined) return;
  if (sizeBytes === layoutMark) into.layout({ sha256, generation: offset });
  else into.piece({ sha256, pack: { sha256: record.toString('hex', 32, 64), sizeBytes }, offset, length });
}

function pieceRecord({ sha256, pack, offset, length }: PlacedPiece): Buffer {
  return sealedRecord(sha256, pack.sha256, [pack.sizeBytes, offset, length]);
}

function layoutRecord({ sha256, generation }: LayoutName): Buffer {
  return sealedRecord(sha256, sha256, [layoutMark, generation, 0]);
}

function sealedRecord(first: string, second: string, numbers: [number, number, number]): Buffer {
  const record = Buffer.alloc(recordBytes);
  record.write(first, 0, 'hex');
  record.write(second, 32, 'hex');
  for (const [n, number] of numbers.entries()) record.writeUInt32LE(number, 64 + 4 * n);
  record.writeUInt32LE(check(record), recordBytes - 4);
  return record;
}

/** FNV-1a over all but the check itself. */
function check(record: Buffer): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < recordBytes - 4; at++) hash = Math.imul(hash ^ (record[at] ?? 0), 0x01000193);
  return hash >>> 0;
}

function* inBatches<T>(items: Iterable<T>, encode: (item: T) => Buffer): Iterable<Buffer> {
  let batch: Buffer[] = [];
  for (const item of items) {
    batch.push(encode(item));
    if (batch.length < 10_000) continue;
    yield Buffer.concat(batch);
    batch = [];
  }
  yield Buffer.concat(batch);
}
