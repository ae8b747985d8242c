import { isMap, isScalar, parseDocument, type ParsedNode, type YAMLMap } from 'yaml';
import { importTypes } from '../kinds/import.ts';

/** An entry of `inputs:` as it is written in one file, in the spec's own inputs or in a profile's. */
export interface WrittenImport {
  /** `inputs.parent`, `profiles.rehearsal.inputs.parent`: where it is, for people. */
  where: string;
  path: readonly string[];
  name: string;
  type: string;
  location: string;
  revision?: string;
  digest?: string;
}

export interface Pin {
  path: readonly string[];
  key: 'revision' | 'digest';
  value: string;
}

/** All imports whose location is written out in this text (an expression has no one place to pin). */
export function writtenImports(text: string): WrittenImport[] {
  const { contents } = parseDocument(text, { merge: false, uniqueKeys: false, logLevel: 'silent' });
  const own = importsAt(contents, ['inputs']);
  const profiles = mapAt(contents, ['profiles']);
  const names = profiles?.items.flatMap(({ key }) => (isScalar(key) ? [String(key.value)] : [])) ?? [];
  return [...own, ...names.flatMap((name) => importsAt(contents, ['profiles', name, 'inputs']))];
}

/**
 * Writes pins into a spec's text and changes nothing else: not a comment, a space or a quote. So a
 * pin is one line in a review.
 */
export function pinText(text: string, pins: readonly Pin[]): string {
  let pinned = text;
  for (const pin of pins) pinned = writePin(pinned, pin);
  return pinned;
}

function importsAt(contents: ParsedNode | null, path: readonly string[]): WrittenImport[] {
  return (mapAt(contents, path)?.items ?? []).flatMap(({ key, value }) => {
    if (!isScalar(key) || !isMap(value)) return [];
    const name = String(key.value);
    const type = importTypes.find((known) => textAt(value, known) !== undefined);
    const location = type === undefined ? undefined : textAt(value, type);
    if (type === undefined || location === undefined || location.includes('${')) return [];
    const [revision, digest] = [textAt(value, 'revision'), textAt(value, 'digest')];
    return [
      {
        where: [...path, name].join('.'),
        path: [...path, name],
        name,
        type,
        location,
        ...(revision === undefined ? {} : { revision }),
        ...(digest === undefined ? {} : { digest }),
      },
    ];
  });
}

function writePin(text: string, { path, key, value }: Pin): string {
  const entry = mapAt(
    parseDocument(text, { merge: false, uniqueKeys: false, logLevel: 'silent' }).contents,
    path,
  );
  const last = entry?.items.at(-1)?.value;
  if (entry === undefined || last?.range === undefined)
    throw new Error(`bug: no entry ${path.join('.')} to pin`);
  const present = entry.items.find((item) => isScalar(item.key) && item.key.value === key)?.value;
  if (present?.range !== undefined) {
    const [start, end] = present.range;
    return `${text.slice(0, start)}${quotedAs(text[start], value)}${text.slice(end)}`;
  }
  const end = last.range[1];
  if (entry.flow === true) return `${text.slice(0, end)}, ${key}: ${value}${text.slice(end)}`;
  return newLine(text, { end, first: entry.items[0]?.key.range[0] ?? 0 }, `${key}: ${value}`);
}

/** A line below the one that ends an entry, as deep as the entry's first key. */
function newLine(text: string, { end, first }: { end: number; first: number }, line: string): string {
  const indent = ' '.repeat(first - (text.lastIndexOf('\n', first - 1) + 1));
  const lineEnd = text.indexOf('\n', end);
  const at = lineEnd < 0 ? text.length : lineEnd;
  return `${text.slice(0, at)}\n${indent}${line}${text.slice(at)}`;
}

function quotedAs(mark: string | undefined, value: string): string {
  return mark === '"' || mark === "'" ? `${mark}${value}${mark}` : value;
}

function mapAt(contents: ParsedNode | null, path: readonly string[]): YAMLMap.Parsed | undefined {
  let node: ParsedNode | null | undefined = contents;
  for (const step of path) {
    if (!isMap(node)) return undefined;
    node = node.items.find(({ key }) => isScalar(key) && String(key.value) === step)?.value;
  }
  return isMap(node) ? node : undefined;
}

function textAt(map: YAMLMap.Parsed, name: string): string | undefined {
  const value = map.items.find(({ key }) => isScalar(key) && key.value === name)?.value;
  return isScalar(value) && typeof value.value === 'string' ? value.value : undefined;
}
