import type { Digest } from '../core/digest.ts';
import { unreachable } from '../core/result.ts';
import type { LineageDifference } from '../lineage/diff.ts';
import type { Making } from '../lineage/graph.ts';
import type { Affected } from '../lineage/impact.ts';
import type { Origin } from '../lineage/walk-up.ts';

/** What scripts get: everything that the text shows, and the attempts in full. */
export function originsJson(origins: readonly Origin[]): object {
  return { artifact: origins[0]?.artifact, origins: origins.map(originJson) };
}

export function impactJson(artifact: Digest, affected: readonly Affected[]): object {
  return {
    artifact,
    affected: affected.map(({ making, distance, through }) => ({ ...makingJson(making), distance, through })),
  };
}

export function differenceJson(difference: LineageDifference): object {
  switch (difference.kind) {
    case 'same':
    case 'seen':
      return difference;
    case 'origins':
      return { kind: 'origins', a: originJson(difference.a), b: originJson(difference.b) };
    case 'makings':
      return {
        kind: 'makings',
        a: originJson(difference.a),
        b: originJson(difference.b),
        fields: difference.fields,
        inputs: difference.inputs.map(({ name, difference: below }) => ({
          name,
          difference: differenceJson(below),
        })),
        circumstances: difference.circumstances,
      };
    default:
      return unreachable(difference);
  }
}

function originJson(origin: Origin): object {
  switch (origin.kind) {
    case 'made': {
      const { kind, artifact, output, making, inputs, waste, others } = origin;
      return { kind, artifact, output, ...makingJson(making), inputs, waste, others: others.map(makingJson) };
    }
    case 'imported': {
      const { kind, artifact, making, imports } = origin;
      return { kind, artifact, ...(making === undefined ? {} : makingJson(making)), imports };
    }
    case 'unknown':
      return origin;
    default:
      return unreachable(origin);
  }
}

function makingJson({ key, domain, generation, predicate }: Making): object {
  const { stage, run, document, outputs, attempts, supersedes } = predicate;
  return {
    record: { key, domain, generation, ...(supersedes === undefined ? {} : { supersedes }) },
    stage,
    run,
    stageKind: document.kind,
    version: document.version,
    with: document.with,
    outputs,
    attempts,
  };
}
