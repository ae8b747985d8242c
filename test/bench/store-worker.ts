import { join } from 'node:path';
import { digestFromHex, parseDigest } from '../../core/digest.ts';
import type { StageKey } from '../../core/keys.ts';
import { statSync } from 'node:fs';
import { createDiskDraft } from '../../store/disk/disk-draft.ts';
import { fetchObject } from '../../store/s3/fetch-object.ts';
import { connectS3 } from '../../store/s3/s3-connection.ts';
import { parseS3Location } from '../../store/s3/s3-location.ts';
import { uploadParts } from '../../store/s3/upload-parts.ts';
import { inParallel } from '../../store/in-parallel.ts';
import { openStoreAt } from '../../store/open-store-at.ts';
import { sha256Text } from '../../store/sha256.ts';

/**
 * The store's side of the benchmark, a process of its own so that its CPU and memory can be measured.
 * PLACE is that of the store, or `-` for HOME's own:
 *
 *     add HOME PLACE FOLDER...          prints the artifacts' digests, one a line
 *     restore HOME PLACE OUT DIGEST...  to OUT/<n>
 *     plan HOME PLACE COUNT DIGEST...   leaves records of COUNT stages that made these artifacts and small ones
 *     ask HOME PLACE COUNT              whether all of that is there, as `fretsaw plan` asks; prints milliseconds
 *     up HOME PLACE FILE                one file as one object; prints milliseconds
 *     down HOME PLACE FILE              the same object into a file; prints milliseconds
 */
const [verb, home = '', place = '-', ...rest] = process.argv.slice(2);
const store = openStoreAt(place === '-' ? undefined : place, { home, domain: 'local', trusted: [] });
const keyOf = (n: number): StageKey => digestFromHex(sha256Text(`stage ${n}`)) as StageKey;

switch (verb as string) {
  case 'add':
    for (const folder of rest)
      console.log((await store.artifacts.putFolder(folder, { type: 'checkpoint' })).digest);
    break;
  case 'restore': {
    const [out = '', ...digests] = rest;
    for (const [n, digest] of digests.entries())
      await store.artifacts.export(parseDigest(digest), join(out, String(n)));
    break;
  }
  case 'plan': {
    const [count = '0', ...digests] = rest;
    await inParallel(
      Array.from({ length: Number(count) }, (_, n) => n),
      16,
      async (n) => {
        const scores = new Map([['scores.json', Buffer.from(JSON.stringify({ n, scores: [] }))]]);
        const own = await store.artifacts.putFiles(scores, { type: 'folder' });
        const great = digests[n % digests.length];
        const made = great === undefined ? [own.digest] : [own.digest, great];
        // As long as a record of a stage with a dozen inputs.
        const record = JSON.stringify({ made, more: 'x'.repeat(4000) });
        await store.records.create(keyOf(n), 1, record);
      },
    );
    break;
  }
  case 'ask': {
    const started = performance.now();
    const records = await store.records.asOfNow();
    const made = new Set<string>();
    for (let n = 0; n < Number(rest[0]); n++) {
      const record = await records.latest(keyOf(n));
      if (record === undefined) throw new Error(`stage ${n} has no record`);
      for (const digest of (JSON.parse(record.envelope) as { made: string[] }).made) made.add(digest);
    }
    const missing = await store.artifacts.missingMany([...made].map(parseDigest));
    if ([...missing.values()].some((paths) => paths.length > 0)) throw new Error('not all there');
    console.log((performance.now() - started).toFixed(1));
    break;
  }
  case 'up':
  case 'down': {
    const [path = ''] = rest;
    const started = performance.now();
    const connection = connectS3(parseS3Location(place));
    if (verb === 'up')
      await uploadParts({ connection, name: 'objects/one', path, sizeBytes: statSync(path).size });
    else {
      const file = createDiskDraft(path, { limit: 1, open: new Set() });
      await fetchObject(connection, 'objects/one', file);
      file.close();
    }
    console.log((performance.now() - started).toFixed(1)); // without what starting Node takes
    break;
  }
  default:
    throw new Error(`expected add, restore, plan, ask, up or down, found ${String(verb)}`);
}
