import type { ArtifactRef, ArtifactType } from '../../core/artifact.ts';
import { digestFromHex } from '../../core/digest.ts';
import type { StageKey } from '../../core/keys.ts';
import type { Lease, Store } from '../../store/store.ts';
import { sha256Text } from '../../store/sha256.ts';

/** One backend under test, empty at first. The bytes below the store can be broken by name. */
export interface StoreRig {
  open(trust?: { domain: string; trusted: string[] }): Store;
  /** Names of the kept objects below a folder. */
  objects(folder: string): Promise<string[]>;
  read(name: string): Promise<Uint8Array>;
  damage(name: string, change: (bytes: Buffer) => Buffer): Promise<void>;
  remove(name: string): Promise<void>;
  /** Loses what this host only remembers of the store. */
  forgetLocal(): Promise<void>;
  dispose(): Promise<void>;
}

export type OpenRig = () => Promise<StoreRig>;

export function files(contents: Record<string, string>): Map<string, Uint8Array> {
  return new Map(Object.entries(contents).map(([path, text]) => [path, Buffer.from(text)]));
}

export function put(
  store: Store,
  contents: Record<string, string>,
  type: ArtifactType = 'folder',
): Promise<ArtifactRef> {
  return store.artifacts.putFiles(files(contents), { type });
}

export function keyOf(text: string): StageKey {
  // A key for tests; real ones come from key documents.
  return digestFromHex(sha256Text(text)) as StageKey;
}

export function leaseOf(key: StageKey, attempt: number, run = 'run'): Lease {
  const holder = { run, host: 'host', pid: 7 };
  return { schema: 'fretsaw/lease/v1', key, attempt, holder, createdAt: '2026-01-01T00:00:00.000Z' };
}

export function blobName(text: string | Uint8Array): string {
  const hex = typeof text === 'string' ? sha256Text(text) : sha256Text(Buffer.from(text).toString('latin1'));
  return `blobs/sha256/${hex.slice(0, 2)}/${hex}`;
}
