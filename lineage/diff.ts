import type { Digest } from '../core/digest.ts';
import type { KeyDocument } from '../core/keys.ts';
import { inputsOf, type LineageGraph, type Making } from './graph.ts';
import { jsonDifference, type FieldDifference } from './json-difference.ts';
import { readJson } from './read-json.ts';
import type { AttemptNote } from './record.ts';
import { originOf, type Origin } from './walk-up.ts';

/** How the makings of two artifacts differ. */
export type LineageDifference =
  | { kind: 'same'; a: Digest; b: Digest }
  /** Said further up in the same answer. */
  | { kind: 'seen'; a: Digest; b: Digest }
  /** At least one was imported or has no record: the ways end here. */
  | { kind: 'origins'; a: Origin; b: Origin }
  | {
      kind: 'makings';
      a: Extract<Origin, { kind: 'made' }>;
      b: Extract<Origin, { kind: 'made' }>;
      /** What was asked for differently: kind, version, `with`, environment, names of inputs. */
      fields: FieldDifference[];
      /** Inputs whose artifacts differ, each followed up. */
      inputs: { name: string; difference: LineageDifference }[];
      /** How it was run, only when the same was asked for: then this is all that can have made the difference. */
      circumstances: FieldDifference[];
    };

export async function diffArtifacts(graph: LineageGraph, a: Digest, b: Digest): Promise<LineageDifference> {
  return diff({ graph, seen: new Set() }, a, b);
}

interface Search {
  graph: LineageGraph;
  seen: Set<string>;
}

async function diff(search: Search, a: Digest, b: Digest): Promise<LineageDifference> {
  if (a === b) return { kind: 'same', a, b };
  if (search.seen.has(`${a} ${b}`)) return { kind: 'seen', a, b };
  search.seen.add(`${a} ${b}`);
  const [originA, originB] = [await originOf(search.graph, a), await originOf(search.graph, b)];
  if (originA.kind !== 'made' || originB.kind !== 'made') return { kind: 'origins', a: originA, b: originB };
  const [documentA, documentB] = [originA.making.predicate.document, originB.making.predicate.document];
  const fields = documentDifference(documentA, documentB, { a: originA.output, b: originB.output });
  const inputs = documentA.kind === documentB.kind ? await diffInputs(search, documentA, documentB) : [];
  const isAskedAlike = fields.length === 0 && inputs.length === 0;
  return {
    kind: 'makings',
    a: originA,
    b: originB,
    fields,
    inputs,
    circumstances: isAskedAlike ? circumstances(originA.making, originB.making) : [],
  };
}

async function diffInputs(
  search: Search,
  a: KeyDocument,
  b: KeyDocument,
): Promise<{ name: string; difference: LineageDifference }[]> {
  const others = new Map(inputsOf(b).map(({ name, digest }) => [name, digest]));
  const differing: { name: string; difference: LineageDifference }[] = [];
  for (const { name, digest } of inputsOf(a)) {
    const other = others.get(name);
    if (other === undefined || other === digest) continue;
    differing.push({ name, difference: await diff(search, digest, other) });
  }
  return differing;
}

function documentDifference(
  a: KeyDocument,
  b: KeyDocument,
  output: { a: string; b: string },
): FieldDifference[] {
  const names = (document: KeyDocument): string[] => inputsOf(document).map(({ name }) => name);
  const onlyA = names(a).filter((name) => !names(b).includes(name));
  const onlyB = names(b).filter((name) => !names(a).includes(name));
  return [
    ...jsonDifference('kind', a.kind, b.kind),
    ...jsonDifference('version', a.version, b.version),
    ...jsonDifference('output', output.a, output.b),
    ...jsonDifference('with', a.with, b.with),
    ...jsonDifference('environment', a.environment, b.environment),
    ...onlyA.map((name) => ({ field: `inputs.${name}`, a: digestOf(a, name) })),
    ...onlyB.map((name) => ({ field: `inputs.${name}`, b: digestOf(b, name) })),
  ];
}

function digestOf(document: KeyDocument, input: string): Digest | null {
  return inputsOf(document).find(({ name }) => name === input)?.digest ?? null;
}

/** Of the attempts that made the outputs. */
function circumstances(a: Making, b: Making): FieldDifference[] {
  const view = (making: Making) => {
    const note: AttemptNote | undefined = making.predicate.attempts.at(-1);
    const { code, versions, resources, host, launcher, resumedFrom } = note ?? {};
    return readJson(
      JSON.parse(
        JSON.stringify({
          code,
          versions,
          resources,
          host,
          launcher,
          resumedFrom,
          domain: making.domain,
          run: making.predicate.run,
        }),
      ),
      'attempt',
    );
  };
  return jsonDifference('', view(a), view(b));
}
