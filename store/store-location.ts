import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Failure } from '../core/errors.ts';
import { nameOfS3, parseS3Location, type S3Location } from './s3/s3-location.ts';

/** Where a store is. `name` is the place alone, without options, for people and for telling stores apart. */
export type StoreLocation =
  { kind: 'disk'; name: string; root: string } | { kind: 's3'; name: string; s3: S3Location };

/** A folder (absolute, or `file:///...`), or `s3://bucket/prefix?options`. BAD_INPUT. */
export function parseStoreLocation(text: string): StoreLocation {
  if (text.startsWith('s3://')) {
    const s3 = parseS3Location(text);
    return { kind: 's3', name: nameOfS3(s3), s3 };
  }
  const root = text.startsWith('file://') ? fileURLToPath(text) : text;
  if (root.includes('://') || !isAbsolute(root))
    throw new Failure('BAD_INPUT', `store ${JSON.stringify(text)}: expected a folder or s3://bucket/prefix`);
  return { kind: 'disk', name: pathToFileURL(resolve(root)).href, root: resolve(root) };
}
