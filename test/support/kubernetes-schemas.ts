import { Ajv, type ValidateFunction } from 'ajv';
import { readFileSync } from 'node:fs';

interface Definitions {
  definitions: Record<string, object>;
  kinds: Record<string, string>;
}

interface Excerpts {
  JobSet: object;
  labels: object;
}

function fixture(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../fixtures/kubernetes/${name}`, import.meta.url), 'utf8'));
}

const { definitions, kinds } = fixture('v1.37.0.json') as Definitions;
const excerpts = fixture('jobset-kueue.json') as Excerpts;
const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });

/** What is wrong with an object by Kubernetes' own definitions; unknown kinds and fields are wrong. */
export function kubernetesFaults(object: unknown): string[] {
  const { kind = '' } = object as { kind?: string };
  if (kind === 'JobSet') return jobSetFaults(object as JobSetLike);
  const definition = kinds[kind];
  if (definition === undefined) return [`no schema for kind ${kind}`];
  return faultsOf({ definitions, $ref: `#/definitions/${definition}` }, object);
}

/** What Kueue asks of the object that it is to admit. */
export function kueueFaults(object: object): string[] {
  const { metadata, spec } = object as { metadata?: { labels?: object }; spec?: { suspend?: boolean } };
  const faults = faultsOf(excerpts.labels, metadata?.labels ?? {});
  return spec?.suspend === true ? faults : [...faults, 'spec.suspend: expected true'];
}

interface JobSetLike {
  metadata: object;
  spec: { replicatedJobs: { template: { spec: object } }[] };
}

function jobSetFaults(set: JobSetLike): string[] {
  const jobs = set.spec.replicatedJobs.map(({ template }) => ({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: set.metadata,
    spec: template.spec,
  }));
  return [...faultsOf(excerpts.JobSet, set), ...jobs.flatMap(kubernetesFaults)];
}

const compiled = new Map<string, ValidateFunction>();

function faultsOf(schema: object, value: unknown): string[] {
  const name = '$ref' in schema ? String(schema.$ref) : JSON.stringify(schema);
  const isRight = compiled.get(name) ?? ajv.compile(schema);
  compiled.set(name, isRight);
  if (isRight(value)) return [];
  return (isRight.errors ?? []).map(({ instancePath, message }) => `${instancePath}: ${message ?? ''}`);
}
