import { importKind, importTypes } from '../kinds/import.ts';
import type { Kind } from '../kinds/kind.ts';
import { kinds } from '../kinds/registry.ts';
import { howKeys } from './overlay.ts';
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
  how: ReadonlyMap<(typeof howKeys)[number], Node>;
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
  'profiles',
];
const stageKeys = ['kind', 'description', 'inputs', 'with', 'matrix', ...howKeys];
const importKeys = [...importTypes, 'description', 'revision', 'digest', 'token', ...howKeys];
const profileKeys = ['description', 'params', 'inputs', 'stages', 'matrix'];
const namePattern = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/;

export function readSpecTree(tree: MapNode, faults: Faults): Spec {
  const reader = new SpecReader(faults);
  reader.refuseUnknown(tree, specKeys, 'a spec');
  reader.checkVersion(tree);
  reader.checkProfiles(tree);
  const stages = new Map<string, StageText>();
  for (const [name, entry] of reader.section(tree, 'inputs')) stages.set(name, reader.import(name, entry));
  const section = reader.section(tree, 'stages');
  for (const [name, entry] of section) {
    const earlier = stages.get(name);
    if (earlier !== undefined) {
      faults.add('DUPLICATE_KEY', entry.keyPlace, { message: `${name} is both an input and a stage` });
    } else stages.set(name, reader.stage(name, entry, section.keys()));
  }
  const params = new Map([...reader.section(tree, 'params')].map(([name, { value }]) => [name, value]));
  reader.checkParams(params);
  return { name: reader.name(tree), params, matrix: reader.matrix(tree, params), stages };
}

class SpecReader {
  readonly #faults: Faults;

  constructor(faults: Faults) {
    this.#faults = faults;
  }

  refuseUnknown(map: MapNode, known: readonly string[], what: string): void {
    for (const [key, { keyPlace }] of map.entries) {
      if (known.includes(key)) continue;
      this.#faults.add('UNKNOWN_KEY', keyPlace, {
        message: `${what} has no ${key}`,
        hint: suggestion(key, known),
      });
    }
  }

  checkVersion(tree: MapNode): void {
    const version = tree.entries.get('fretsaw');
    const top = { ...tree.place, end: tree.place.start };
    const hint = 'the first line of a spec is: fretsaw: v1';
    if (version === undefined) this.#faults.add('MISSING_KEY', top, { message: 'fretsaw is required', hint });
    else if (version.value.kind !== 'scalar' || version.value.value !== 'v1') {
      const message = `fretsaw: expected v1, found ${describe(version.value)}`;
      this.#faults.add('BAD_VALUE', version.value.place, { message, hint });
    }
  }

  name(tree: MapNode): string {
    const entry = tree.entries.get('name');
    if (entry === undefined) {
      this.#faults.add(
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
      else this.#wrongType(value, `profiles.${name}`, 'a map');
    }
  }

  checkParams(params: ReadonlyMap<string, Node>): void {
    for (const [name, value] of params) {
      if (value.kind === 'scalar' && value.value === null)
        this.#wrongType(value, `params.${name}`, 'a value');
      if (value.kind !== 'scalar' || typeof value.value !== 'string' || !value.value.includes('${')) continue;
      const message = `params.${name}: a param is a plain value`;
      this.#faults.add('BAD_EXPRESSION', value.place, { message, hint: 'write the value out' });
    }
  }

  /** A top-level map's entries, with names checked; empty when absent. */
  section(tree: MapNode, key: string): ReadonlyMap<string, Entry> {
    const value = tree.entries.get(key)?.value;
    if (value === undefined) return new Map();
    if (value.kind !== 'map') {
      this.#wrongType(value, key, 'a map');
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
      this.#wrongType(value, `stages.${name}`, 'a map with kind, inputs, with');
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

  /** `{checkpoint: <location>, ...}` is a stage of kind import with the settings type and location. */
  import(name: string, { keyPlace, value }: Entry): StageText {
    const blank = { name, place: keyPlace, kind: importKind, inputs: undefined, matrix: [] };
    if (value.kind !== 'map') {
      this.#wrongType(value, `inputs.${name}`, 'a map like {checkpoint: <location>}');
      return { ...blank, kind: undefined, with: undefined, how: new Map() };
    }
    this.refuseUnknown(value, importKeys, 'an input');
    const given = importTypes.filter((type) => value.entries.has(type));
    const [type, another] = given;
    const entries = new Map<string, Entry>();
    const location = type === undefined ? undefined : value.entries.get(type);
    if (type === undefined || location === undefined) {
      const message = `inputs.${name}: one of ${importTypes.join(', ')} is required`;
      this.#faults.add('MISSING_KEY', keyPlace, {
        message,
        hint: 'it names the location, e.g. checkpoint: ./parent',
      });
      return { ...blank, kind: undefined, with: undefined, how: howOf(value) };
    }
    if (another !== undefined) {
      const place = value.entries.get(another)?.keyPlace ?? keyPlace;
      this.#faults.add('BAD_VALUE', place, {
        message: `inputs.${name}: both ${type} and ${another}`,
        hint: 'keep one',
      });
    }
    entries.set('type', {
      keyPlace: location.keyPlace,
      value: { kind: 'scalar', place: location.keyPlace, value: type },
    });
    entries.set('location', location);
    for (const key of ['revision', 'digest', 'token']) {
      const entry = value.entries.get(key);
      if (entry !== undefined) entries.set(key, entry);
    }
    return { ...blank, with: { kind: 'map', place: value.place, entries }, how: howOf(value) };
  }

  matrix(tree: MapNode, params: ReadonlyMap<string, Node>): Dimension[] {
    const dimensions = this.#dimensions(tree, 'the spec');
    for (const { name, keyPlace } of dimensions) {
      if (params.has(name)) continue;
      const hint = suggestion(name, params.keys());
      this.#faults.add('UNKNOWN_PARAM', keyPlace, {
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
      this.#faults.add('MISSING_KEY', keyPlace, { message: `stages.${name}: kind is required`, hint });
      return undefined;
    }
    const text = this.#text(entry.value, `stages.${name}.kind`);
    if (text === undefined) return undefined;
    const kind = kinds.get(text);
    if (kind === undefined || kind === importKind) {
      const message = text === 'import' ? 'import is not for stages' : `there is no kind ${text}`;
      const names = [...kinds.keys()].filter((known) => known !== 'import');
      const hint = text === 'import' ? 'write the entry under inputs:' : suggestion(text, names);
      this.#faults.add('UNKNOWN_KIND', entry.value.place, { message, hint });
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
        this.#faults.add('BAD_MATRIX', value.place, {
          message: `matrix.${name}: expected a list with at least one value`,
        });
      } else dimensions.push({ name, keyPlace, values: this.#legValues(name, value) });
    }
    return dimensions;
  }

  #legValues(name: string, list: ListNode): ScalarNode[] {
    const values: ScalarNode[] = [];
    const seen = new Set<string>();
    for (const item of list.items) {
      const isScalar = item.kind === 'scalar' && item.value !== null;
      const label = isScalar ? String(item.value) : '';
      if (!isScalar || !/^[^\s,=[\]*]+$/.test(label)) {
        const message = `matrix.${name}: expected short text or a number, found ${describe(item)}`;
        const hint = 'the value becomes part of the name of a leg: no spaces, commas, =, *, brackets';
        this.#faults.add('BAD_MATRIX', item.place, { message, hint });
      } else if (seen.has(label)) {
        this.#faults.add('BAD_MATRIX', item.place, { message: `matrix.${name}: ${label} is here twice` });
      } else values.push(item);
      seen.add(label);
    }
    return values;
  }

  #map(map: MapNode, key: string, what: string): MapNode | undefined {
    const value = map.entries.get(key)?.value;
    if (value === undefined || value.kind === 'map') return value;
    this.#wrongType(value, `${what}: ${key}`, 'a map');
    return undefined;
  }

  #text(node: Node, path: string): string | undefined {
    if (node.kind === 'scalar' && typeof node.value === 'string') return node.value;
    this.#wrongType(node, path, 'text');
    return undefined;
  }

  #wrongType(node: Node, path: string, expected: string): void {
    this.#faults.add('WRONG_TYPE', node.place, {
      message: `${path}: expected ${expected}, found ${describe(node)}`,
    });
  }

  #checkName(name: string, place: Place): void {
    if (namePattern.test(name)) return;
    const hint = 'a letter, then letters, digits, - and _; at most 64';
    this.#faults.add('BAD_NAME', place, { message: `${JSON.stringify(name)} is not a name`, hint });
  }
}

function howOf(map: MapNode): StageText['how'] {
  const how = new Map<(typeof howKeys)[number], Node>();
  for (const key of howKeys) {
    const entry = map.entries.get(key);
    if (entry !== undefined) how.set(key, entry.value);
  }
  return how;
}
