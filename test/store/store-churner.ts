import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isFailure } from '../../core/errors.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import { moeFile } from '../contract/tensor-file.ts';

/**
 * Puts, pins and collects in an order that its seed gives, without any grace period, until it has done its
 * steps or is killed. Says `pinned <name> <digest>` for each promise of the store. For the tests of gc.
 */
export async function churn(
  home: string,
  seed: number,
  { steps, say }: { steps: number; say: (line: string) => void },
): Promise<void> {
  const store = openDiskStore({ home, domain: 'local', trusted: [] });
  const random = generator(seed);
  const folder = mkdtempSync(join(tmpdir(), 'fretsaw-churn-'));
  try {
    for (let step = 0; step < steps; step++) {
      if (random() < 0.35) await collect(store);
      // Few experts and few variants, so that writers meet on the same bytes all the time.
      const kept = [0, 1, 2, 3].filter(() => random() < 0.6);
      writeFileSync(
        join(folder, 'model.safetensors'),
        moeFile([[4, 5, 6, 7, 8, 9, 10, ...kept]], `v${Math.floor(random() * 3)}`),
      );
      writeFileSync(join(folder, 'config.json'), `{"kept":${Math.floor(random() * 5)}}`);
      const { digest } = await store.artifacts.putFolder(folder, { type: 'checkpoint' });
      if (random() < 0.5) continue;
      const name = `${process.pid}-${seed}-${step}`;
      const isPinned = await store.upkeep.pin(name, digest).then(
        () => true,
        (error: unknown) => {
          if (isFailure(error, 'NOT_FOUND')) return false; // collected before it was pinned
          throw error;
        },
      );
      if (!isPinned) continue;
      say(`pinned ${name} ${digest}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function collect(store: ReturnType<typeof openDiskStore>): Promise<void> {
  try {
    await store.upkeep.collect({ roots: () => store.upkeep.referred(), graceMs: 0, dryRun: false });
  } catch (error) {
    if (!isFailure(error, 'STORE_UNAVAILABLE')) throw error; // another is at work
  }
}

/** mulberry32. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

if (process.argv[1]?.endsWith('store-churner.ts') === true) {
  const [home = '', seed = ''] = process.argv.slice(2);
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  await churn(home, Number(seed), { steps: Infinity, say });
}
