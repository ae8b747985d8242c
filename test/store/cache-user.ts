import { createHash } from 'node:crypto';
import { createDiskBackend } from '../../store/disk/disk-backend.ts';
import { createCache } from '../../store/layers/cache.ts';
import { createLayeredBackend } from '../../store/layers/layered-backend.ts';

/**
 * Reads objects of REMOTE in an order of its own through the cache at CACHE, which is too small for all of
 * them, ROUNDS times over. Prints how many were not what their name says.
 */
const [remote = '', cache = '', limit = '', rounds = '', step = ''] = process.argv.slice(2);
const layered = createLayeredBackend(
  { ...createDiskBackend(remote), localPath: () => undefined },
  createCache(cache, Number(limit)),
);
const names = await layered.list('blobs');
let wrong = 0;
for (let n = 0; n < names.length * Number(rounds); n++) {
  const name = names[(n * Number(step)) % names.length] ?? '';
  const hash = createHash('sha256');
  for await (const chunk of layered.stream(name)) hash.update(chunk);
  if (!name.endsWith(hash.digest('hex'))) wrong++;
  if (n % 7 === 0 && (await layered.get(name, { start: 3, end: 9 }))?.length !== 6) wrong++;
}
console.log(wrong);
