import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs';

/**
 * The least that the store's work can cost in Node, to compare it with:
 *
 *     hash FILE...        reads each file and hashes every byte twice
 *     copy TARGET FILE... reads each file, hashes every byte once and writes it to TARGET
 */
const [verb, ...rest] = process.argv.slice(2);
const target = verb === 'copy' ? rest.shift() : undefined;
const buffer = Buffer.allocUnsafe(256 << 10);
for (const path of rest) {
  const source = openSync(path, 'r');
  const out = target === undefined ? undefined : openSync(target, 'w');
  const hashes = (verb === 'copy' ? [1] : [1, 2]).map(() => createHash('sha256'));
  for (let got = readSync(source, buffer); got > 0; got = readSync(source, buffer)) {
    const chunk = buffer.subarray(0, got);
    for (const hash of hashes) hash.update(chunk);
    if (out !== undefined) writeSync(out, chunk);
  }
  for (const hash of hashes) hash.digest();
  closeSync(source);
  if (out !== undefined) closeSync(out);
}
if (target !== undefined) rmSync(target);
