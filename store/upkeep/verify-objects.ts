import { setTimeout } from 'node:timers/promises';
import { isFailure } from '../../core/errors.ts';
import { hashStream } from '../blobs.ts';
import type { ObjectBackend, ObjectInfo } from '../object-backend.ts';
import { packEndBytes } from '../pieces/pack-builder.ts';
import { isSha256 } from '../pieces/layout.ts';
import { sha256Bytes } from '../sha256.ts';
import { exactKeys, parseStored } from '../stored-json.ts';
import type { Artifacts, VerifyOptions, VerifyReport } from '../store.ts';

/**
 * Each artifact's files by name and size; with `bytes`, every blob and pack against the hash that is its
 * name, in the order of names, so that an interrupted look goes on after the last one it reported.
 */
export async function verifyStore(
  backend: ObjectBackend,
  artifacts: Artifacts,
  options: VerifyOptions,
): Promise<VerifyReport> {
  const report: VerifyReport = { artifacts: 0, objects: 0, bytes: 0, broken: [], incomplete: [] };
  if (options.depth === 'bytes') await verifyBytes(backend, options, report);
  for (const digest of await artifacts.list()) {
    report.artifacts++;
    const missing = await artifacts.missing(digest);
    if (missing.length > 0) report.incomplete.push({ digest, missing });
  }
  return report;
}

async function verifyBytes(
  backend: ObjectBackend,
  options: VerifyOptions,
  report: VerifyReport,
): Promise<void> {
  const started = Date.now();
  for (const folder of ['blobs', 'packs']) {
    for (const info of await sorted(backend, folder)) {
      if (options.after !== undefined && info.name <= options.after) continue;
      const fault = await faultOf(backend, info);
      report.objects++;
      report.bytes += info.sizeBytes;
      if (fault !== undefined) {
        report.broken.push(`${info.name}: ${fault}`);
        await backend.quarantine(info.name);
      }
      options.progress?.({ name: info.name, bytes: report.bytes });
      const dueMs = (report.bytes / (options.bytesPerSecond ?? Infinity)) * 1000;
      const aheadMs = dueMs - (Date.now() - started);
      if (aheadMs > 0) await setTimeout(aheadMs);
    }
  }
}

async function sorted(backend: ObjectBackend, folder: string): Promise<ObjectInfo[]> {
  const all: ObjectInfo[] = [];
  for await (const info of backend.listInfo(folder)) all.push(info);
  return all.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function faultOf(backend: ObjectBackend, info: ObjectInfo): Promise<string | undefined> {
  const sha256 = info.name.split('/').at(-1) ?? '';
  try {
    if (info.name.startsWith('packs/')) return await packFault(backend, info, sha256);
    const actual = await hashStream(backend.stream(info.name));
    return actual === sha256 ? undefined : `its bytes have sha256 ${actual}`;
  } catch (error) {
    if (isFailure(error, 'NOT_FOUND')) return undefined; // removed since it was listed
    if (isFailure(error, 'CORRUPT')) return error.message;
    throw error;
  }
}

/** By the pack alone: its table has the sha256 that is its name, and its pieces have those of the table. */
async function packFault(
  backend: ObjectBackend,
  { name, sizeBytes }: ObjectInfo,
  sha256: string,
): Promise<string | undefined> {
  const end = await backend.get(name, { start: Math.max(sizeBytes - packEndBytes, 0), end: sizeBytes });
  const tableBytes = /^\d{11}\n$/.test(latin1(end)) ? Number(latin1(end)) : 0;
  const start = sizeBytes - packEndBytes - tableBytes;
  if (tableBytes === 0 || start < 0) return 'it has no table at its end';
  const table = (await backend.get(name, { start, end: start + tableBytes })) ?? new Uint8Array();
  if (sha256Bytes(table) !== sha256) return `its table has sha256 ${sha256Bytes(table)}`;
  let at = 0;
  for (const [length, expected] of piecesOf(latin1(table), name)) {
    const actual = await hashStream(backend.stream(name, { start: at, end: at + length }));
    if (actual !== expected) return `at ${at}: expected a piece with sha256 ${expected}, found ${actual}`;
    at += length;
  }
  return at === start ? undefined : `its pieces end at ${at} and its table begins at ${start}`;
}

function piecesOf(table: string, where: string): [number, string][] {
  const { pieces } = exactKeys(parseStored(table, 'fretsaw/pack/v1', where), ['schema', 'pieces'], where);
  if (!Array.isArray(pieces)) return [];
  return pieces.map((row: unknown) => {
    const [length, sha256] = Array.isArray(row) ? (row as unknown[]) : [];
    return [typeof length === 'number' ? length : 0, isSha256(sha256) ? sha256 : ''];
  });
}

function latin1(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? new Uint8Array()).toString('latin1');
}
