import type { NewObject, ObjectBackend } from '../object-backend.ts';
import { inParallel } from '../in-parallel.ts';
import type { PackRef, PlacedPiece } from './layout.ts';
import { createPackBuilder, type PackBuilder } from './pack-builder.ts';
import type { PieceIndex } from './piece-index.ts';

/** A group with more bytes than this goes on in another pack. */
export const maxPackBytes = 64 << 20;
/** What all open packs together may hold in memory. */
const bufferedLimitBytes = 48 << 20;
/** Packs are published together, at the price of one flush, when so many or so many bytes are complete. */
const batchPacks = 64;
const batchBytes = 512 << 20;

/** Puts new pieces into packs by group, publishes those that are complete, and tells the index. */
export interface PackWriter {
  /** Where this put has already placed such a piece. */
  find(sha256: string): PlacedPiece | undefined;
  place(group: string, bytes: Uint8Array, sha256: string): Promise<PlacedPiece>;
  /** No more pieces of this group will come. */
  complete(group: string): Promise<void>;
  /** Publishes all; the packs that are then certainly there. */
  finish(): Promise<ReadonlySet<string>>;
  discard(): Promise<void>;
}

interface Sealed {
  object: NewObject & { ref: PackRef };
  builder: PackBuilder;
}

export function createPackWriter(backend: ObjectBackend, index: PieceIndex): PackWriter {
  const open = new Map<string, PackBuilder>();
  const placed = new Map<string, PlacedPiece>();
  const published = new Set<string>();
  let sealed: Sealed[] = [];
  let publishing: Promise<void> = Promise.resolve();

  async function publish(batch: readonly Sealed[]): Promise<void> {
    const sizes = await backend.headMany(batch.map(({ object }) => object.name));
    const absent: NewObject[] = [];
    for (const [n, { object, builder }] of batch.entries()) {
      const there = sizes[n]?.sizeBytes;
      if (there === object.ref.sizeBytes) {
        await builder.discard();
        continue;
      }
      if (there !== undefined) await backend.quarantine(object.name);
      absent.push(object);
    }
    await backend.createMany(absent);
    await index.add(batch.flatMap(({ builder }) => builder.pieces));
    for (const { object } of batch) published.add(object.ref.sha256);
  }

  /** One batch is on its way while the next is filled, and no more. */
  async function publishSealed(): Promise<void> {
    const batch = sealed;
    sealed = [];
    await publishing;
    publishing = publish(batch);
    publishing.catch(() => undefined); // whoever awaits it next throws
  }

  async function complete(group: string): Promise<void> {
    const builder = open.get(group);
    if (builder === undefined) return;
    open.delete(group);
    sealed.push({ object: await builder.seal(), builder });
    const bytes = sealed.reduce((sum, { object }) => sum + object.ref.sizeBytes, 0);
    if (sealed.length >= batchPacks || bytes >= batchBytes) await publishSealed();
  }

  /** The memory that open packs hold stays bounded, however many groups a file opens before it ends one. */
  async function spillIfNeeded(): Promise<void> {
    const all = [...open.values()];
    if (all.reduce((sum, { bufferedBytes }) => sum + bufferedBytes, 0) <= bufferedLimitBytes) return;
    for (const builder of all) if (builder.bufferedBytes > 0) await builder.spill();
  }

  let sinceLook = 0;
  return {
    find: (sha256) => placed.get(sha256),
    complete,
    async place(group, bytes, sha256) {
      if ((open.get(group)?.sizeBytes ?? 0) + bytes.length > maxPackBytes) await complete(group);
      const builder = open.get(group) ?? createPackBuilder(backend);
      open.set(group, builder);
      const piece = await builder.add(bytes, sha256);
      placed.set(sha256, piece);
      sinceLook += bytes.length;
      if (sinceLook >= bufferedLimitBytes / 8) {
        sinceLook = 0;
        await spillIfNeeded();
      }
      return piece;
    },
    async finish() {
      for (const group of [...open.keys()]) await complete(group);
      await publishSealed();
      await publishing;
      return published;
    },
    async discard() {
      await publishing.catch(() => undefined);
      const left = [...open.values(), ...sealed.map(({ builder }) => builder)];
      await inParallel(left, 1, (builder) => builder.discard());
    },
  };
}
