/**
 * `node --import tsx infra/setup/pin-kinds.mjs [--check]`: writes kinds/pinned.json, which says what code the
 * present version of each kind stands for. --check writes nothing and says which kinds differ.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { kindVersions, pinKinds, pinnedPath } from '../../kinds/versions.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const reading = {
  readFile: (path) => (existsSync(join(root, path)) ? readFileSync(join(root, path), 'utf8') : undefined),
  sha256: (text) => createHash('sha256').update(text).digest('hex'),
};

const dirty = Object.entries(kindVersions(reading).versions).filter(([, version]) =>
  version.includes('+dirty'),
);
for (const [name, version] of dirty) console.log(`${name} ${version}`);
if (!process.argv.includes('--check')) {
  writeFileSync(join(root, pinnedPath), `${JSON.stringify(pinKinds(reading), null, 2)}\n`);
  console.log(
    `${pinnedPath}: ${dirty.length === 0 ? 'nothing changed' : `${dirty.length} kinds pinned anew`}`,
  );
}
