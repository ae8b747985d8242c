import { closeSync, existsSync, fstatSync, openSync, readSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { hexOf } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';
import { readAttempt, type AttemptPredicate } from '../lineage/attempt.ts';
import type { Store } from '../store/store.ts';

/** Where what the jobs of a key wrote is: job folders of this host, and the store for attempts that have ended. */
export interface LogPlaces {
  store: Store;
  work: string;
  key: StageKey;
}

const rankLog = /(^|\/)\d+\/(stdout|stderr)\.log$/;

/** Every attempt that has a folder here or an end in the store, oldest first. */
export async function attemptsOf({ store, work, key }: LogPlaces): Promise<number[]> {
  const folder = join(work, hexOf(key));
  const here = existsSync(folder) ? readdirSync(folder).map(Number).filter(Number.isInteger) : [];
  const ended = (await store.documents.list(`attempts/${hexOf(key)}/`)).map((path) => Number(basename(path)));
  return [...new Set([...here, ...ended])].sort((a, b) => a - b);
}

/** Reads what one attempt has written since the last look: lines of several ranks have their rank before them. */
export class AttemptLog {
  readonly #places: LogPlaces;
  readonly #attempt: number;
  readonly #offsets = new Map<string, number>();

  constructor(places: LogPlaces, attempt: number) {
    this.#places = places;
    this.#attempt = attempt;
  }

  get isHere(): boolean {
    return existsSync(this.#folder);
  }

  /** How the attempt ended; undefined while it is at work. */
  end(): Promise<AttemptPredicate | undefined> {
    return readAttempt(this.#places.store.documents, this.#places.key, this.#attempt);
  }

  /** What has been written here since the last call. */
  read(): string {
    const files = this.#files();
    const isMany = files.length > 2;
    return files.map((file) => labelled(file, this.#readOn(join(this.#folder, file)), isMany)).join('');
  }

  /** What the store kept of an attempt of any host. */
  async readStored(): Promise<string> {
    const logs = (await this.end())?.logs;
    if (logs === undefined) return '';
    const { artifacts } = this.#places.store;
    const files = ((await artifacts.manifest(logs.digest))?.files ?? [])
      .map(({ path }) => path)
      .filter(isLog);
    const parts = await Promise.all(
      files.map(async (file) => {
        const text = Buffer.from(await artifacts.readFile(logs.digest, file)).toString();
        return labelled(file, text, files.length > 2);
      }),
    );
    return parts.join('');
  }

  get #folder(): string {
    return join(this.#places.work, hexOf(this.#places.key), String(this.#attempt));
  }

  #files(): string[] {
    const ranks = join(this.#folder, 'ranks');
    const names = existsSync(ranks) ? readdirSync(ranks, { recursive: true }).map(String) : [];
    const logs = names.map((name) => join('ranks', name)).filter(isLog);
    return ['log', ...logs.sort()].filter((name) => existsSync(join(this.#folder, name)));
  }

  #readOn(path: string): string {
    const file = openSync(path, 'r');
    try {
      const from = this.#offsets.get(path) ?? 0;
      const buffer = Buffer.alloc(Math.max(0, fstatSync(file).size - from));
      const length = readSync(file, buffer, 0, buffer.length, from);
      // A line is shown once it is whole, so that ranks do not write into each other's lines.
      const end = buffer.subarray(0, length).lastIndexOf(10) + 1;
      this.#offsets.set(path, from + end);
      return buffer.toString('utf8', 0, end);
    } finally {
      closeSync(file);
    }
  }
}

function isLog(path: string): boolean {
  return path === 'log' || rankLog.test(path);
}

function labelled(file: string, text: string, isMany: boolean): string {
  if (!isMany || file === 'log' || text === '') return text;
  const rank = basename(dirname(file));
  return text.replace(/^(?=.)/gm, `rank ${rank}: `);
}
