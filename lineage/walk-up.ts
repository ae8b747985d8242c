import type { Digest } from '../core/digest.ts';
import { inputsOf, makerOf, type LineageGraph, type Making, type NamedInput } from './graph.ts';
import type { ImportPredicate } from './import.ts';
import { wasteOf, type Waste } from './waste.ts';

/** Where an artifact came from. */
export type Origin =
  | {
      kind: 'made';
      artifact: Digest;
      output: string;
      making: Making;
      inputs: NamedInput[];
      waste: Waste;
      /** Other records that made the same bytes. */
      others: Making[];
    }
  | { kind: 'imported'; artifact: Digest; making: Making | undefined; imports: ImportPredicate[] }
  | { kind: 'unknown'; artifact: Digest };

/** The artifact and everything above it, each once, nearest first. */
export async function walkUp(graph: LineageGraph, artifact: Digest): Promise<Origin[]> {
  const origins = new Map<Digest, Origin>();
  const queue = [artifact];
  for (let at = queue.shift(); at !== undefined; at = queue.shift()) {
    if (origins.has(at)) continue;
    const origin = await originOf(graph, at);
    origins.set(at, origin);
    if (origin.kind === 'made') queue.push(...origin.inputs.map(({ digest }) => digest));
  }
  return [...origins.values()];
}

export async function originOf(graph: LineageGraph, artifact: Digest): Promise<Origin> {
  const making = makerOf(graph, artifact);
  const imports = await graph.importsOf(artifact);
  if (making === undefined) {
    return imports.length > 0
      ? { kind: 'imported', artifact, making, imports }
      : { kind: 'unknown', artifact };
  }
  const { document, outputs, attempts } = making.predicate;
  if (document.kind === 'import') return { kind: 'imported', artifact, making, imports };
  const named = Object.entries(outputs).find(([, { digest }]) => digest === artifact);
  const snapshots = attempts.length > 1 ? await graph.snapshotsOf(making) : [];
  return {
    kind: 'made',
    artifact,
    output: named?.[0] ?? '?',
    making,
    inputs: inputsOf(document),
    waste: wasteOf(attempts, snapshots),
    others: graph.makersOf(artifact).filter((other) => other !== making),
  };
}
