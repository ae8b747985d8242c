import { join } from 'node:path';
import type { Digest } from '../../core/digest.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';

/**
 * The store's side of the benchmark, a process of its own so that its CPU and memory can be measured:
 *
 *     add HOME FOLDER...          prints the artifacts' digests, one a line
 *     restore HOME OUT DIGEST...  to OUT/<n>
 *     ask HOME COUNT DIGEST...    whether a plan of COUNT stages is all there; prints milliseconds
 */
const [verb, home = '', ...rest] = process.argv.slice(2);
const store = openDiskStore({ home, domain: 'local', trusted: [] });
if (verb === 'add') {
  for (const folder of rest)
    console.log((await store.artifacts.putFolder(folder, { type: 'checkpoint' })).digest);
} else {
  const [first, ...digests] = rest as [string, ...Digest[]];
  if (verb === 'restore') {
    for (const [n, digest] of digests.entries()) await store.artifacts.export(digest, join(first, String(n)));
  } else {
    const started = performance.now();
    for (let n = 0; n < Number(first); n++) {
      const digest = digests[n % digests.length];
      if (digest === undefined || (await store.artifacts.missing(digest)).length > 0)
        throw new Error('not there');
    }
    console.log((performance.now() - started).toFixed(1));
  }
}
