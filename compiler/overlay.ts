import { howKeys } from './how.ts';
import { suggestion } from './suggest.ts';
import type { Entry, Faults, MapNode, Node } from './tree.ts';

/** Keys of an input's entry that name where bytes are; pins belong to their location. */
const locationKeys = ['checkpoint', 'dataset', 'folder'];

export type OverlaySort = 'extends' | 'profile';

/**
 * `over` laid on `base`: maps merge, scalars and lists replace, null deletes. Two rules follow from
 * what the keys mean: an input's entry with a new location drops the old location's pins, and the
 * stage `"*"` of an overlay speaks for every stage of the base.
 */
export function overlaySpec(
  base: MapNode,
  over: MapNode,
  options: { sort: OverlaySort; faults: Faults },
): MapNode {
  const entries = new Map(base.entries);
  for (const [key, entry] of over.entries) {
    const under = base.entries.get(key);
    entries.set(key, { keyPlace: entry.keyPlace, value: overlaySection(key, { under, entry }, options) });
    if (isNull(entry.value)) deleteKey(entries, key, { under, entry, ...options });
  }
  return { kind: 'map', place: over.place, entries };
}

interface Section {
  under: Entry | undefined;
  entry: Entry;
}

function overlaySection(
  key: string,
  { under, entry }: Section,
  options: { sort: OverlaySort; faults: Faults },
): Node {
  const { value } = entry;
  if (under?.value.kind !== 'map' || value.kind !== 'map') return value;
  switch (key) {
    case 'profiles':
      return mergeKeepingNulls(under.value, value);
    case 'inputs':
      return overlayInputs(under.value, value, options.faults);
    case 'stages':
      return mergeMaps(spreadStar(under.value, value, options.faults), value, {
        faults: options.faults,
        without: '*',
      });
    case 'params':
      if (options.sort === 'profile') refuseNewParams(under.value, value, options.faults);
      return mergeMaps(under.value, value, options);
    default:
      return mergeMaps(under.value, value, options);
  }
}

interface MergeOptions {
  faults: Faults;
  without?: string;
}

function mergeMaps(base: MapNode, over: MapNode, options: MergeOptions): MapNode {
  const entries = new Map(base.entries);
  for (const [key, entry] of over.entries) {
    if (key === options.without) continue;
    const under = base.entries.get(key);
    if (isNull(entry.value)) deleteKey(entries, key, { under, entry, faults: options.faults });
    else entries.set(key, merged(under, entry, options.faults));
  }
  return { kind: 'map', place: over.place, entries };
}

function merged(under: Entry | undefined, entry: Entry, faults: Faults): Entry {
  if (entry.value.kind !== 'map') return entry;
  const base =
    under?.value.kind === 'map' ? under.value : { ...entry.value, entries: new Map<string, Entry>() };
  return { keyPlace: entry.keyPlace, value: mergeMaps(base, entry.value, { faults }) };
}

function deleteKey(entries: Map<string, Entry>, key: string, at: Section & { faults: Faults }): void {
  entries.delete(key);
  if (at.under !== undefined) return;
  at.faults.add('UNKNOWN_OVERLAY', at.entry.keyPlace, {
    message: `${key}: null deletes, but there is no ${key} to delete`,
    hint: suggestion(key, entries.keys()),
  });
}

/** A profile's nulls are deletions still to come: laying one spec on another must not lose them. */
function mergeKeepingNulls(base: MapNode, over: MapNode): MapNode {
  const entries = new Map(base.entries);
  for (const [key, entry] of over.entries) {
    const { value } = entry;
    const under = entries.get(key)?.value;
    const isPair = under?.kind === 'map' && value.kind === 'map';
    entries.set(key, isPair ? { ...entry, value: mergeKeepingNulls(under, value) } : entry);
  }
  return { kind: 'map', place: over.place, entries };
}

function overlayInputs(base: MapNode, over: MapNode, faults: Faults): MapNode {
  const kept = new Map(base.entries);
  for (const [name, { value }] of over.entries) {
    const under = base.entries.get(name);
    if (under?.value.kind !== 'map' || value.kind !== 'map') continue;
    if (!locationKeys.some((key) => value.entries.has(key))) continue;
    const deleted = [...under.value.entries].filter(([key]) => value.entries.has(key));
    kept.set(name, { ...under, value: { ...under.value, entries: new Map(deleted) } });
  }
  return mergeMaps({ ...base, entries: kept }, over, { faults });
}

/** `stages: {"*": {pool: local}}` says how for all; a stage's own words in the same overlay come after. */
function spreadStar(base: MapNode, over: MapNode, faults: Faults): MapNode {
  const star = over.entries.get('*');
  if (star?.value.kind !== 'map') {
    if (star !== undefined) faults.add('WRONG_TYPE', star.keyPlace, { message: 'stages.*: expected a map' });
    return base;
  }
  for (const [key, { keyPlace }] of star.value.entries) {
    if (howKeys.some((known) => known === key)) continue;
    faults.add('UNKNOWN_OVERLAY', keyPlace, {
      message: `stages.*.${key}: only ${howKeys.join(', ')} can be said for all stages`,
      hint: 'name the stages one by one',
    });
  }
  const how = star.value;
  const entries = new Map<string, Entry>();
  for (const [name, entry] of base.entries) {
    const { value } = entry;
    entries.set(name, value.kind === 'map' ? { ...entry, value: mergeQuietly(value, how) } : entry);
  }
  return { ...base, entries };
}

/** Merges where a null deletes what is there and is silent when it is not. */
function mergeQuietly(base: MapNode, over: MapNode): MapNode {
  const entries = new Map(base.entries);
  for (const [key, entry] of over.entries) {
    const under = entries.get(key)?.value;
    if (isNull(entry.value)) entries.delete(key);
    else if (under?.kind === 'map' && entry.value.kind === 'map') {
      entries.set(key, { ...entry, value: mergeQuietly(under, entry.value) });
    } else entries.set(key, entry);
  }
  return { ...base, entries };
}

function refuseNewParams(base: MapNode, over: MapNode, faults: Faults): void {
  for (const [name, { keyPlace, value }] of over.entries) {
    if (base.entries.has(name) || isNull(value)) continue;
    faults.add('UNKNOWN_OVERLAY', keyPlace, {
      message: `a profile sets param ${name}, which the spec does not have`,
      hint: suggestion(name, base.entries.keys()),
    });
  }
}

function isNull(node: Node): boolean {
  return node.kind === 'scalar' && node.value === null;
}
