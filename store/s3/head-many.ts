import { inParallel } from '../in-parallel.ts';
import type { ObjectInfo, ObjectSize } from '../object-backend.ts';
import { listPages } from './list-objects.ts';
import type { S3Connection } from './s3-connection.ts';

/** So many single questions cost about as much as one page of a list. */
const questionsAPage = 16;
const questionsAtOnce = 48;
/** Runs of neighbouring names that are looked through at once. */
const sweepsAtOnce = 8;

export function headObject(connection: S3Connection, name: string): Promise<ObjectSize | undefined> {
  return connection.call(`looking for ${name}`, async ({ sdk, client }) => {
    const { ContentLength } = await client.send(
      new sdk.HeadObjectCommand({ Bucket: connection.place.bucket, Key: connection.key(name) }),
    );
    return { sizeBytes: ContentLength ?? 0 };
  });
}

/**
 * Sizes of many names. Where they lie close together, pages of the list answer a thousand at a time;
 * where a page turns out to hold too few of them, the rest of its neighbourhood is asked for one by one.
 */
export async function headObjects(
  connection: S3Connection,
  names: readonly string[],
): Promise<(ObjectSize | undefined)[]> {
  const found = new Map<string, ObjectSize>();
  const single: string[] = [];
  const sweeps: string[][] = [];
  for (const group of neighbourhoods([...new Set(names)].sort())) {
    if (group.length < questionsAPage) single.push(...group);
    else sweeps.push(group);
  }
  await inParallel(sweeps, sweepsAtOnce, async (group) => {
    single.push(...(await sweep(connection, group, found)));
  });
  await inParallel(single, questionsAtOnce, async (name) => {
    const size = await headObject(connection, name);
    if (size !== undefined) found.set(name, size);
  });
  return names.map((name) => found.get(name));
}

/** Names of one top folder, in runs of an equal share of what sweeps at once can look through. */
function neighbourhoods(sorted: readonly string[]): string[][] {
  const byTop = new Map<string, string[]>();
  for (const name of sorted) {
    const top = name.slice(0, name.indexOf('/') + 1);
    byTop.set(top, [...(byTop.get(top) ?? []), name]);
  }
  return [...byTop.values()].flatMap((group) => {
    const share = Math.max(questionsAPage, Math.ceil(group.length / sweepsAtOnce));
    return Array.from({ length: Math.ceil(group.length / share) }, (_, n) =>
      group.slice(n * share, (n + 1) * share),
    );
  });
}

/** Returns the names that are better asked for one by one. */
async function sweep(
  connection: S3Connection,
  wanted: readonly string[],
  found: Map<string, ObjectSize>,
): Promise<readonly string[]> {
  const end = wanted.at(-1) ?? '';
  let left = wanted;
  while (left.length > 0) {
    const [from = ''] = left;
    const page = await pageFrom(connection, from, end);
    for (const { name, sizeBytes } of page.objects) found.set(name, { sizeBytes });
    // What should have been on this page and was not is absent.
    const beyond = left.filter((name) => page.end !== undefined && isAfter(name, page.end));
    if (beyond.length > 0 && left.length - beyond.length < questionsAPage) return beyond;
    left = beyond;
  }
  return [];
}

interface Span {
  objects: ObjectInfo[];
  /** The last name that the page speaks of; undefined when it speaks of all to the end. */
  end: string | undefined;
}

async function pageFrom(connection: S3Connection, from: string, end: string): Promise<Span> {
  for await (const { objects, isLast } of listPages(connection, {
    prefix: commonPrefix(from, end),
    after: before(from),
  })) {
    return { objects, end: isLast ? undefined : objects.at(-1)?.name };
  }
  return { objects: [], end: undefined };
}

function isAfter(a: string, b: string): boolean {
  return Buffer.compare(Buffer.from(a, 'utf8'), Buffer.from(b, 'utf8')) > 0;
}

/** The greatest name that a list which begins after it still begins at `name`. */
function before(name: string): string {
  const bytes = Buffer.from(name, 'utf8');
  const last = bytes.at(-1) ?? 0;
  // Names of objects that are asked for in bulk are ASCII; 0x7e is the last printable character of it.
  return `${bytes.subarray(0, -1).toString('utf8')}${String.fromCharCode(last - 1)}~`;
}

function commonPrefix(a: string, b: string): string {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return a.slice(0, length);
}
