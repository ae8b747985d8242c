import { importKind } from '../kinds/import.ts';
import type { Kind } from '../kinds/kind.ts';
import { kinds } from '../kinds/registry.ts';
import { howKeys, howOf, type How } from './how.ts';
import { readImport } from './import-entry.ts';
import { didYouMean, suggestion } from './suggest.ts';
import {
  describe,
  type Entry,
  type Faults,
  type ListNode,
  type MapNode,
  type Node,
  type Place,
  type ScalarNode,
} from './tree.ts';

/** A spec's parts with their places; values still hold expressions. */
export interface Spec {
  name: string;
  params: ReadonlyMap<string, Node>;
  /** Of a run of this spec; still holds expressions. */
  budget: Node | undefined;
  /** Binds params: the stages that depend on one get a leg for each value. */
  matrix: readonly Dimension[];
  /** Entries of `inputs:` first, then `stages:`, each in the order written. */
  stages: ReadonlyMap<string, StageText>;
}

export interface Dimension {
  name: string;
  keyPlace: Place;
  values: readonly ScalarNode[];
}

export interface StageText {
  name: string;
  /** Where the stage's name is written. */
  place: Place;
  /** Undefined when the spec names an unknown kind: its inputs are still checked for their stages. */
  kind: Kind | undefined;
  with: MapNode | undefined;
  inputs: MapNode | undefined;
  matrix: readonly Dimension[];
  how: How;
}

const specKeys = [
  'fretsaw',
  'name',
  'description',
  'extends',
  'params',
  'inputs',
  'stages',
  'matrix',
  'budget',
  'profiles',
];
const stageKeys = ['kind', 'description', 'inputs', 'with', 'matrix', ...howKeys];
const profileKeys = ['description', 'params', 'inputs', 'stages', 'matrix', 'budget'];
const namePattern = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/;

export function readSpecTree(tree: MapNode, faults: Faults): Spec {
  const reader = new SpecReader(faults);
  reader.refuseUnknown(tree, specKeys, 'a spec');
  reader.checkVersion(tree);
  reader.checkProfiles(tree);
  const stages = new Map<string, StageText>();
  for (const [name, entry] of reader.section(tree, 'inputs'))
    stages.set(name, readImport(name, entry, reader));
  const section = reader.section(tree, 'stages');
  for (const [name, entry] of section) {
    const earlier = stages.get(name);
    if (earlier !== undefined) {
      faults.add('DUPLICATE_KEY', entry.keyPlace, { message: `${name} is both an input and a stage` });
    } else stages.set(name, reader.stage(name, entry, section.keys()));
  }
  const params = new Map([...reader.section(tree, 'params')].map(([name, { value }]) => [name, value]));
  reader.checkParams(params);
  const budget = tree.entries.get('budget')?.value;
  return { name: reader.name(tree), params, budget, matrix: reader.matrix(tree, params), stages };
}

/** Reads one map of a spec after the other; every fault is added and reading goes on. */
export class SpecReader {
  readonly faults: Faults;

  constructor(faults: Faults) {
    this.faults = faults;
  }

  refuseUnknown(map: MapNode, known: readonly string[], what: string): void {
    for (const [key, { keyPlace }] of map.entries) {
      if (known.includes(key)) continue;
      this.faults.add('UNKNOWN_KEY', keyPlace, {
        message: `${what} has no ${key}`,
        hint: suggestion(key, known),
      });
    }
  }

  checkVersion(tree: MapNode): void {
    const version = tree.entries.get('fretsaw');
    const top = { ...tree.place, end: tree.place.start };
    const hint = 'the first line of a spec is: fretsaw: v1';
    if (version === undefined) this.faults.add('MISSING_KEY', top, { message: 'fretsaw is required', hint });
    else if (version.value.kind !== 'scalar' || version.value.value !== 'v1') {
      const message = `fretsaw: expected v1, found ${describe(version.value)}`;
      this.faults.add('BAD_VALUE', version.value.place, { message, hint });
    }
  }

  name(tree: MapNode): string {
    const entry = tree.entries.get('name');
    if (entry === undefined) {
      this.faults.add(
        'MISSING_KEY',
        { ...tree.place, end: tree.place.start },
        { message: 'name is required' },
      );
      return '';
    }
    const name = this.#text(entry.value, 'name') ?? '';
    if (name !== '') this.#checkName(name, entry.value.place);
    return name;
  }

  checkProfiles(tree: MapNode): void {
    for (const [name, { value }] of this.section(tree, 'profiles')) {
      if (value.kind === 'map') this.refuseUnknown(value, profileKeys, 'a profile');
      else this.wrongType(value, `profiles.${name}`, 'a map');
    }
  }

  checkParams(params: ReadonlyMap<string, Node>): void {
    for (const [name, value] of params) {
      if (value.kind === 'scalar' && value.value === null) this.wrongType(value, `params.${name}`, 'a value');
      if (value.kind !== 'scalar' || typeof value.value !== 'string' || !value.value.includes('${')) continue;
      const message = `params.${name}: a param is a plain value`;
      this.faults.add('BAD_EXPRESSION', value.place, { message, hint: 'write the value out' });
    }
  }

  /** A top-level map's entries, with names checked; empty when absent. */
  section(tree: MapNode, key: string): ReadonlyMap<string, Entry> {
    const value = tree.entries.get(key)?.value;
    if (value === undefined) return new Map();
    if (value.kind !== 'map') {
      this.wrongType(value, key, 'a map');
      return new Map();
    }
    for (const [name, { keyPlace }] of value.entries) this.#checkName(name, keyPlace);
    return value.entries;
  }

  stage(name: string, { keyPlace, value }: Entry, others: Iterable<string>): StageText {
    const blank = {
      name,
      place: keyPlace,
      kind: undefined,
      with: undefined,
      inputs: undefined,
      matrix: [],
      how: new Map(),
    };
    if (value.kind !== 'map') {
      this.wrongType(value, `stages.${name}`, 'a map with kind, inputs, with');
      return blank;
    }
    this.refuseUnknown(value, stageKeys, 'a stage');
    return {
      ...blank,
      kind: this.#kind(name, { keyPlace, value }, others),
      with: this.#map(value, 'with', name),
      inputs: this.#map(value, 'inputs', name),
      matrix: this.#dimensions(value, name),
      how: howOf(value),
    };
  }

  matrix(tree: MapNode, params: ReadonlyMap<string, Node>): Dimension[] {
    const dimensions = this.#dimensions(tree, 'the spec');
    for (const { name, keyPlace } of dimensions) {
      if (params.has(name)) continue;
      const hint = suggestion(name, params.keys());
      this.faults.add('UNKNOWN_PARAM', keyPlace, {
        message: `matrix binds params, and there is no param ${name}`,
        hint,
      });
    }
    return dimensions;
  }

  #kind(
    name: string,
    { keyPlace, value }: { keyPlace: Place; value: MapNode },
    others: Iterable<string>,
  ): Kind | undefined {
    const entry = value.entries.get('kind');
    if (entry === undefined) {
      const other = didYouMean(
        name,
        [...others].filter((other) => other !== name),
      );
      const hint = other ?? 'e.g. kind: command';
      this.faults.add('MISSING_KEY', keyPlace, { message: `stages.${name}: kind is required`, hint });
      return undefined;
    }
    const text = this.#text(entry.value, `stages.${name}.kind`);
    if (text === undefined) return undefined;
    const kind = kinds.get(text);
    if (kind === undefined || kind === importKind) {
      const message = text === 'import' ? 'import is not for stages' : `there is no kind ${text}`;
      const names = [...kinds.keys()].filter((known) => known !== 'import');
      const hint = text === 'import' ? 'write the entry under inputs:' : suggestion(text, names);
      this.faults.add('UNKNOWN_KIND', entry.value.place, { message, hint });
      return undefined;
    }
    return kind;
  }

  #dimensions(map: MapNode, what: string): Dimension[] {
    const matrix = this.#map(map, 'matrix', what);
    const dimensions: Dimension[] = [];
    for (const [name, { keyPlace, value }] of matrix?.entries ?? []) {
      this.#checkName(name, keyPlace);
      if (value.kind !== 'list' || value.items.length === 0) {
        this.faults.add('BAD_MATRIX', value.place, {
          message: `matrix.${name}: expected a list with at least one value`,
        });
      } else dimensions.push({ name, keyPlace, values: legValues(name, value, this.faults) });
    }
    return dimensions;
  }

  #map(map: MapNode, key: string, what: string): MapNode | undefined {
    const value = map.entries.get(key)?.value;
    if (value === undefined || value.kind === 'map') return value;
    this.wrongType(value, `${what}: ${key}`, 'a map');
    return undefined;
  }

  #text(node: Node, path: string): string | undefined {
    if (node.kind === 'scalar' && typeof node.value === 'string') return node.value;
    this.wrongType(node, path, 'text');
    return undefined;
  }

  wrongType(node: Node, path: string, expected: string): void {
    this.faults.add('WRONG_TYPE', node.place, {
      message: `${path}: expected ${expected}, found ${describe(node)}`,
    });
  }

  #checkName(name: string, place: Place): void {
    if (namePattern.test(name)) return;
    const hint = 'a letter, then letters, digits, - and _; at most 64';
    this.faults.add('BAD_NAME', place, { message: `${JSON.stringify(name)} is not a name`, hint });
  }
}

/** Values become parts of names (`evaluate[effort=low]`), so they are short and distinct. */
function legValues(name: string, list: ListNode, faults: Faults): ScalarNode[] {
  const values: ScalarNode[] = [];
  const seen = new Set<string>();
  for (const item of list.items) {
    const isScalar = item.kind === 'scalar' && item.value !== null;
    const label = isScalar ? String(item.value) : '';
    if (!isScalar || !/^[^\s,=[\]*]+$/.test(label)) {
      const message = `matrix.${name}: expected short text or a number, found ${describe(item)}`;
      const hint = 'the value becomes part of the name of a leg: no spaces, commas, =, *, brackets';
      faults.add('BAD_MATRIX', item.place, { message, hint });
    } else if (seen.has(label)) {
      faults.add('BAD_MATRIX', item.place, { message: `matrix.${name}: ${label} is here twice` });
    } else values.push(item);
    seen.add(label);
  }
  return values;
}
