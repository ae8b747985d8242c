import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  parseDocument,
  type ParsedNode,
  type Scalar as YamlScalar,
  type YAMLMap,
  type YAMLParseError,
} from 'yaml';
import {
  rangeOf,
  sourceFile,
  type Entry,
  type Faults,
  type MapNode,
  type Node,
  type Place,
  type SourceFile,
} from './tree.ts';

/** A spec is text that a person reviews; what is larger is a mistake, and is not even parsed. */
export const maximumSpecBytes = 1 << 20;

/** No spec nests so deep; a parser that recurses must not be asked to. */
const deepest = 100;

/**
 * YAML text as a tree with places. Aliases and tags are off (an alias bomb is never expanded), keys
 * are strings and unique, numbers are exact and finite. `undefined` when the text is not YAML.
 */
export function parseYaml(path: string, text: string, faults: Faults): Node | undefined {
  const file = sourceFile(path, text);
  const deep = tooDeep(text);
  if (deep !== undefined) {
    faults.add(
      'SYNTAX',
      { file, start: deep, end: deep + 1 },
      { message: `more than ${deepest} brackets inside each other` },
    );
    return undefined;
  }
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    merge: false,
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: 'silent',
  });
  reportSyntax(document.errors, file, faults);
  if (document.errors.length > 0) return undefined;
  const whole = { file, start: 0, end: 0 };
  if (document.contents === null) {
    return { kind: 'map', place: whole, entries: new Map() };
  }
  return new Reader(file, faults).node(document.contents);
}

/** Where brackets get too deep. Brackets in text count too: a pair that closes changes nothing. */
function tooDeep(text: string): number | undefined {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x5b || code === 0x7b) depth++;
    else if ((code === 0x5d || code === 0x7d) && depth > 0) depth--;
    if (depth > deepest) return at;
  }
  return undefined;
}

/**
 * One mistake makes the parser stumble over everything behind it, so a line has one fault at most and
 * the tokens that are left over have none.
 */
function reportSyntax(
  errors: readonly Pick<YAMLParseError, 'message' | 'pos'>[],
  file: SourceFile,
  faults: Faults,
): void {
  const lines = new Set<number>();
  for (const [index, error] of errors.entries()) {
    const place = { file, start: error.pos[0], end: error.pos[1] };
    const { line } = rangeOf(place);
    if ((index > 0 && error.message.includes('in YAML stream')) || lines.has(line)) continue;
    lines.add(line);
    const isBracket = error.message.includes('flow-seq-start');
    const hint = isBracket ? 'quote a reference to a leg: "evaluate[effort=low].results"' : undefined;
    faults.add('SYNTAX', place, { message: error.message.replace(/\s+/g, ' '), hint });
  }
}

class Reader {
  readonly #file: SourceFile;
  readonly #faults: Faults;
  readonly #aliases = new Set<string>();

  constructor(file: SourceFile, faults: Faults) {
    this.#file = file;
    this.#faults = faults;
  }

  node(from: ParsedNode): Node {
    const place = this.#place(from);
    this.#refuseTag(from, place);
    if (isAlias(from)) {
      const hint = 'write the value out, or make it a param';
      // Once a name: a bomb has as many aliases as fit into the file.
      if (!this.#aliases.has(from.source))
        this.#faults.add('ALIAS', place, { message: `*${from.source}: YAML aliases are off in specs`, hint });
      this.#aliases.add(from.source);
      return { kind: 'scalar', place, value: null };
    }
    if (isMap(from)) return this.#map(from, place);
    if (isSeq(from)) return { kind: 'list', place, items: from.items.map((item) => this.node(item)) };
    return { kind: 'scalar', place, value: this.#scalar(from, place) };
  }

  #map(from: YAMLMap.Parsed, place: Place): MapNode {
    const entries = new Map<string, Entry>();
    for (const { key, value } of from.items) {
      const keyPlace = this.#place(key);
      const name = isScalar(key) ? keyName(key) : undefined;
      if (name === undefined) {
        this.#faults.add('WRONG_TYPE', keyPlace, { message: 'expected a key that is text' });
        continue;
      }
      const first = entries.get(name);
      if (first !== undefined) {
        const line = this.#lineOf(first.keyPlace);
        this.#faults.add('DUPLICATE_KEY', keyPlace, {
          message: `${name} is here twice`,
          hint: `the first is on line ${line}`,
        });
        continue;
      }
      const missing = { kind: 'scalar' as const, place: keyPlace, value: null };
      entries.set(name, { keyPlace, value: value === null ? missing : this.node(value) });
    }
    return { kind: 'map', place, entries };
  }

  #scalar(from: YamlScalar.Parsed, place: Place): string | number | boolean | null {
    const { value } = from as { value: unknown };
    if (typeof value === 'number') return this.#number(value, from, place);
    if (typeof value === 'string' || typeof value === 'boolean' || value === null) return value;
    this.#faults.add('WRONG_TYPE', place, { message: `expected text, a number, true, false or null` });
    return null;
  }

  /** Canonical JSON has no infinity, NaN, -0, and no integer that a double cannot hold. */
  #number(value: number, from: YamlScalar.Parsed, place: Place): number {
    const source = from.source;
    if (!Number.isFinite(value)) {
      this.#faults.add('BAD_NUMBER', place, { message: `${source} is not a finite number` });
      return 0;
    }
    if (/^[-+]?\d+$/.test(source) && !Number.isSafeInteger(value)) {
      const hint = 'quote it if it is a name; an integer goes up to 9007199254740991';
      this.#faults.add('BAD_NUMBER', place, {
        message: `${source} has more digits than a number can keep`,
        hint,
      });
    }
    return value === 0 ? 0 : value;
  }

  #refuseTag(from: ParsedNode, place: Place): void {
    if (isAlias(from) || from.tag === undefined) return;
    const wasWritten = this.#file.text.slice(Math.max(0, place.start - 80), place.start).match(/!\S*\s*$/);
    if (wasWritten === null && !this.#file.text.startsWith('!', place.start)) return;
    this.#faults.add('TAG', place, { message: `YAML tags are off in specs`, hint: 'leave the !tag out' });
  }

  #place(node: { range?: readonly [number, number, number] | null }): Place {
    const [start, end] = node.range ?? [0, 0];
    return { file: this.#file, start, end };
  }

  #lineOf(place: Place): number {
    return this.#file.text.slice(0, place.start).split('\n').length;
  }
}

/** A number or boolean as a key is its text (`8: x`), as in JSON. */
function keyName(key: YamlScalar.Parsed): string | undefined {
  const { value } = key as { value: unknown };
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return key.source;
  return undefined;
}
