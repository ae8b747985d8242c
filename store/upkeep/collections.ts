import { hostname } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { Failure } from '../../core/errors.ts';
import { generationsOf, readText } from '../generations.ts';
import type { ObjectBackend } from '../object-backend.ts';
import { parseNumber } from '../object-names.ts';
import { exactKeys, parseStored } from '../stored-json.ts';

/**
 * How writers and garbage collection stay out of each other's way, with nothing but create-only documents:
 *
 *   - A collection creates `gc/<n>/begun`, then looks what is reachable, removes the rest, creates `gc/<n>/done`.
 *   - A writer publishes its manifest (or pin) and then asks which collections have begun since it began.
 *     None: whoever begins later sees the manifest, which is young and so reachable. One: it may have looked
 *     before the manifest was there, so the writer waits for its end and looks whether all is still there.
 */
export interface Collections {
  /** Numbers of those that have ended by now. */
  ended(): Promise<ReadonlySet<number>>;
  /** Resolves, true when one has begun that is not among `before`, once all have ended. STORE_UNAVAILABLE when one does not end. */
  settle(before: ReadonlySet<number>): Promise<boolean>;
  /** STORE_UNAVAILABLE while another is at work. */
  begin(): Promise<Collection>;
}

export interface Collection {
  number: number;
  /** The store's own clock when it began (Unix time, milliseconds): ages are told by it alone. */
  begunMs: number;
  end(): Promise<void>;
}

const folder = 'gc';
/** A collection that has not ended after this was killed, if nobody can be asked. */
const abandonedMs = 24 * 3600_000;
const pollMs = 200;
/** A writer waits so long for a collection. */
const patienceMs = 10 * 60_000;

export function createCollections(backend: ObjectBackend): Collections {
  /** One listing, however many there were. */
  async function all(): Promise<{ number: number; isEnded: boolean }[]> {
    const states = new Map<number, Set<string>>();
    for (const name of await backend.list(folder)) {
      const [, segment = '', state = ''] = name.split('/');
      const number = parseNumber(segment);
      if (number !== undefined) states.set(number, (states.get(number) ?? new Set()).add(state));
    }
    const found: { number: number; isEnded: boolean }[] = [];
    for (const [number, state] of states)
      found.push({ number, isEnded: state.has('done') || (await wasKilled(number)) });
    return found;
  }

  async function wasKilled(number: number): Promise<boolean> {
    const text = await readText(backend, nameOf(number, 'begun'));
    if (text === undefined) return false;
    const { host, pid, createdAt } = parseBegun(text, number);
    const isKilled = host === hostname() && !isAlive(pid);
    return isKilled || Date.now() - Date.parse(createdAt) > abandonedMs;
  }

  async function running(): Promise<number[]> {
    return (await all()).filter(({ isEnded }) => !isEnded).map(({ number }) => number);
  }

  return {
    async ended() {
      return new Set((await all()).filter(({ isEnded }) => isEnded).map(({ number }) => number));
    },
    async settle(before) {
      const since = (await all()).filter(({ number }) => !before.has(number));
      if (since.length === 0) return false;
      for (let waitedMs = 0; (await running()).length > 0; waitedMs += pollMs) {
        if (waitedMs > patienceMs)
          throw new Failure(
            'STORE_UNAVAILABLE',
            `garbage collection ${(await running()).join(', ')} does not end`,
          );
        await setTimeout(pollMs);
      }
      return true;
    },
    async begin() {
      const numbers = await generationsOf(backend, folder);
      const number = (numbers.at(-1) ?? 0) + 1;
      const begun = {
        schema: 'fretsaw/gc/v1',
        host: hostname(),
        pid: process.pid,
        createdAt: new Date().toISOString(),
      };
      const others = await running();
      const isOurs =
        others.length === 0 &&
        (await backend.create(nameOf(number, 'begun'), Buffer.from(`${JSON.stringify(begun)}\n`)));
      if (!isOurs) throw new Failure('STORE_UNAVAILABLE', 'another garbage collection is at work here');
      return {
        number,
        begunMs: await writtenAt(backend, nameOf(number, 'begun')),
        end: async () => {
          await backend.create(nameOf(number, 'done'), Buffer.from('{"schema":"fretsaw/gc-done/v1"}\n'));
        },
      };
    },
  };
}

async function writtenAt(backend: ObjectBackend, name: string): Promise<number> {
  for await (const info of backend.listInfo(name.slice(0, name.lastIndexOf('/'))))
    if (info.name === name) return info.modifiedAtMs;
  throw new Failure('STORE_UNAVAILABLE', `${name} was created and is not listed`);
}

function nameOf(number: number, state: 'begun' | 'done'): string {
  return `${folder}/${number}/${state}`;
}

function parseBegun(text: string, number: number): { host: string; pid: number; createdAt: string } {
  const where = `gc/${number}/begun`;
  const keys = ['schema', 'host', 'pid', 'createdAt'];
  const { host, pid, createdAt } = exactKeys(parseStored(text, 'fretsaw/gc/v1', where), keys, where);
  if (typeof host !== 'string' || typeof pid !== 'number' || typeof createdAt !== 'string')
    throw new Failure('CORRUPT', `${where}: not the beginning of a garbage collection`);
  return { host, pid, createdAt };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
