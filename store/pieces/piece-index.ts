import { isFailure } from '../../core/errors.ts';
import { readText } from '../generations.ts';
import { inParallel } from '../in-parallel.ts';
import type { ObjectBackend } from '../object-backend.ts';
import { objectNames, parseNumber } from '../object-names.ts';
import { createIndexJournal, type LayoutName } from './index-journal.ts';
import { parseLayout, type PlacedPiece } from './layout.ts';
import { createPieceTable } from './piece-table.ts';

const layoutsAtOnce = 8;

/**
 * Which pieces the store has, and where, without asking it for each: from its layouts, and from what
 * this host has written and not yet named. It may be out of date: who builds on a pack looks whether
 * it is there before he says so.
 */
export interface PieceIndex {
  /** Learns the layouts that came since. */
  refresh(): Promise<void>;
  find(sha256: string): PlacedPiece | undefined;
  /** Pieces of packs that are in the store now. */
  add(pieces: readonly PlacedPiece[]): Promise<void>;
  forgetPacks(packs: Iterable<string>): void;
}

/** `folder`: where it is kept between processes; undefined keeps it in memory alone. */
export function createPieceIndex(backend: ObjectBackend, folder: string | undefined): PieceIndex {
  const table = createPieceTable();
  const journal = folder === undefined ? undefined : createIndexJournal(folder);
  const learnt = new Map<string, LayoutName>();
  let isLoaded = false;
  let refreshing: Promise<void> | undefined;

  function load(): void {
    isLoaded = true;
    journal?.read({
      piece: (piece) => {
        table.set(piece);
      },
      layout: (name) => learnt.set(keyOf(name), name),
    });
    journal?.rewrite(table.all(), learnt.values());
  }

  async function learn(name: LayoutName): Promise<void> {
    const text = await readText(backend, `${objectNames.layout(name.sha256)}/${name.generation}`);
    const pieces = text === undefined ? [] : piecesOf(text, name.sha256);
    const fresh = pieces.filter(({ sha256 }) => table.find(sha256) === undefined);
    for (const piece of fresh) table.set(piece);
    learnt.set(keyOf(name), name);
    journal?.append(fresh, [name]);
  }

  async function refresh(): Promise<void> {
    if (!isLoaded) load();
    const names = (await backend.list('layouts')).map(layoutName);
    const unknown = names.filter((name) => name !== undefined).filter((name) => !learnt.has(keyOf(name)));
    await inParallel(unknown, layoutsAtOnce, learn);
  }

  return {
    refresh() {
      refreshing ??= refresh().finally(() => (refreshing = undefined));
      return refreshing;
    },
    find: (sha256) => table.find(sha256),
    async add(pieces) {
      for (const piece of pieces) table.set(piece);
      journal?.append(pieces, []);
    },
    forgetPacks(packs) {
      for (const pack of packs) table.forgetPack(pack);
    },
  };
}

/** A broken layout teaches nothing; its readers deal with it. */
function piecesOf(text: string, sha256: string): PlacedPiece[] {
  try {
    return parseLayout(text, sha256).pieces;
  } catch (error) {
    if (isFailure(error, 'CORRUPT')) return [];
    throw error;
  }
}

/** `layouts/<xx>/<sha256>/<generation>`. */
function layoutName(name: string): LayoutName | undefined {
  const [, , sha256, last] = name.split('/');
  const generation = last === undefined ? undefined : parseNumber(last);
  return sha256 === undefined || generation === undefined ? undefined : { sha256, generation };
}

function keyOf({ sha256, generation }: LayoutName): string {
  return `${sha256}/${generation}`;
}
