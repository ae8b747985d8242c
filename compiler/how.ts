import type { MapNode, Node } from './tree.ts';

/** What says how a stage is run, and is never part of its key. */
export const howKeys = ['pool', 'resources', 'retry', 'budget', 'approve'] as const;

export type How = ReadonlyMap<(typeof howKeys)[number], Node>;

export function howOf(map: MapNode): How {
  const how = new Map<(typeof howKeys)[number], Node>();
  for (const key of howKeys) {
    const entry = map.entries.get(key);
    if (entry !== undefined) how.set(key, entry.value);
  }
  return how;
}
