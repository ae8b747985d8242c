import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Diagnostic } from '../compiler/diagnostic.ts';
import type { Pool } from '../compiler/pool.ts';
import { readPool } from '../compiler/read-pool.ts';
import { Failure } from '../core/errors.ts';
import type { Result } from '../core/result.ts';
import { UsageError, type Invocation } from './command.ts';

/**
 * The pool of this name: the text of FRETSAW_POOL, else `<name>.yaml` in FRETSAW_POOLS or infra/pools; a
 * name with a slash or an ending is a path.
 */
export function loadPool(
  name: string,
  { env, cwd }: Pick<Invocation, 'env' | 'cwd'>,
): Result<Pool, Diagnostic[]> {
  if (name.includes('/') || name.endsWith('.yaml')) return readFile(resolve(cwd, name));
  const inline = env['FRETSAW_POOL'] || undefined;
  const file = join(resolve(cwd, env['FRETSAW_POOLS'] || 'infra/pools'), `${name}.yaml`);
  const read = inline === undefined ? readFile(file) : readPool('$FRETSAW_POOL', inline);
  if (read.ok && read.value.name !== name) {
    const where = inline === undefined ? file : 'FRETSAW_POOL';
    throw new UsageError(`${where} describes pool ${read.value.name}, not ${name}`);
  }
  return read;
}

function readFile(file: string): Result<Pool, Diagnostic[]> {
  if (existsSync(file)) return readPool(file, readFileSync(file, 'utf8'));
  throw new Failure(
    'NOT_FOUND',
    `no pool file ${file}; FRETSAW_POOLS names their folder, FRETSAW_POOL holds one as text`,
  );
}
