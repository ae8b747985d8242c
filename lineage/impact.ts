import type { Digest } from '../core/digest.ts';
import { inputsOf, type LineageGraph, type Making } from './graph.ts';

/** A stage that read the artifact, or something made from it. */
export interface Affected {
  making: Making;
  /** 1 for a stage that read the artifact itself. */
  distance: number;
  /** The inputs that brought it there. */
  through: { input: string; artifact: Digest }[];
}

/** Everything made from an artifact, nearest first. */
export function impactOf(graph: LineageGraph, artifact: Digest): Affected[] {
  const distances = new Map<Digest, number>([[artifact, 0]]);
  const affected = new Map<Making, Affected>();
  const queue = [artifact];
  for (let at = queue.shift(); at !== undefined; at = queue.shift()) {
    const distance = (distances.get(at) ?? 0) + 1;
    for (const making of graph.readersOf(at)) {
      if (affected.has(making)) continue;
      affected.set(making, { making, distance, through: [] });
      for (const { digest } of Object.values(making.predicate.outputs)) {
        if (distances.has(digest)) continue;
        distances.set(digest, distance);
        queue.push(digest);
      }
    }
  }
  const all = [...affected.values()];
  for (const one of all) {
    one.through = inputsOf(one.making.predicate.document)
      .filter(({ digest }) => distances.has(digest))
      .map(({ name, digest }) => ({ input: name, artifact: digest }));
  }
  return all;
}
