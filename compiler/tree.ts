import type { Diagnostic, DiagnosticCode, Range } from './diagnostic.ts';

/** A spec file's text, kept so that a fault can show its line. */
export interface SourceFile {
  path: string;
  text: string;
  /** Offset of the first character of each line. */
  lineStarts: readonly number[];
}

/** Where something was written, as offsets into its file. */
export interface Place {
  file: SourceFile;
  start: number;
  end: number;
}

export type Scalar = string | number | boolean | null;

/** YAML with places and without anything else: no aliases, tags or comments. */
export type Node = MapNode | ListNode | ScalarNode;

export interface MapNode {
  kind: 'map';
  place: Place;
  entries: ReadonlyMap<string, Entry>;
}

export interface Entry {
  keyPlace: Place;
  value: Node;
}

export interface ListNode {
  kind: 'list';
  place: Place;
  items: readonly Node[];
}

export interface ScalarNode {
  kind: 'scalar';
  place: Place;
  value: Scalar;
  /** Where the text itself was written, when `place` only says `${params.x}`. */
  origin?: Place;
}

export function sourceFile(path: string, text: string): SourceFile {
  const lineStarts = [0];
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lineStarts.push(at + 1);
  return { path, text, lineStarts };
}

export function rangeOf(place: Place): Range {
  const { file, start } = place;
  const line = lineOf(file.lineStarts, start);
  const lineStart = file.lineStarts[line] ?? 0;
  const lineEnd = lineStart + lineText(file, line + 1).length;
  const end = Math.max(start + 1, Math.min(place.end, lineEnd));
  return { path: file.path, line: line + 1, column: start - lineStart + 1, endColumn: end - lineStart + 1 };
}

/** The text of a line (from 1) without its line break. */
export function lineText(file: SourceFile, line: number): string {
  const start = file.lineStarts[line - 1] ?? file.text.length;
  const end = (file.lineStarts[line] ?? file.text.length + 1) - 1;
  return file.text.slice(start, end).replace(/\r$/, '');
}

function lineOf(lineStarts: readonly number[], offset: number): number {
  let low = 0;
  let high = lineStarts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((lineStarts[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Collects faults; one that is found again at the same place (by another leg) is said once. */
export class Faults {
  readonly #byPlace = new Map<string, Diagnostic>();

  add(code: DiagnosticCode, place: Place, text: { message: string; hint?: string | undefined }): void {
    const range = rangeOf(place);
    const id = `${code} ${range.path}:${range.line}:${range.column} ${text.message}`;
    if (this.#byPlace.has(id)) return;
    const hint = text.hint === undefined ? {} : { hint: text.hint };
    const excerpt = lineText(place.file, range.line);
    this.#byPlace.set(id, { code, message: text.message, range, excerpt, ...hint });
  }

  get count(): number {
    return this.#byPlace.size;
  }

  /** Whether something was already said about exactly this place. */
  has(place: Place): boolean {
    const { path, line, column } = rangeOf(place);
    const at = ` ${path}:${line}:${column} `;
    return [...this.#byPlace.keys()].some((id) => id.includes(at));
  }

  list(): Diagnostic[] {
    return [...this.#byPlace.values()];
  }
}

/** For messages: what a node is, in words. */
export function describe(node: Node): string {
  if (node.kind === 'map') return 'a map';
  if (node.kind === 'list') return 'a list';
  return node.value === null ? 'nothing (null)' : JSON.stringify(node.value);
}
