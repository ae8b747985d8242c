import { isDigest, shortDigest, type Digest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import { listFinished, listRuns } from '../lineage/run.ts';
import type { Store } from '../store/store.ts';
import { UsageError } from './command.ts';

/** Runs that are looked through for a stage that was named without its run. */
const runsLookedAt = 50;

export interface FindOptions {
  /** Digests that only records name: their bytes may be gone, their lineage is not. */
  also?: Iterable<Digest>;
}

/**
 * What people call an artifact: `sha256:<hex>`, a unique prefix of the hex digits (4 or more), a ref,
 * `<stage>.<output>` of the newest run that has it, or `<run>/<stage>.<output>`; `.<output>` may be
 * left out when the stage has one.
 */
export async function findArtifact(store: Store, name: string, options: FindOptions = {}): Promise<Digest> {
  if (isDigest(name)) return name;
  const prefix = /^(?:sha256:)?([0-9a-f]{4,63})$/.exec(name)?.[1];
  const byPrefix = prefix === undefined ? [] : await withPrefix(store, prefix, options);
  if (byPrefix.length > 1) {
    throw new UsageError(
      `${name} is the start of ${byPrefix.length} digests: ${byPrefix.slice(0, 4).map(longer).join(', ')}`,
    );
  }
  const found = byPrefix[0] ?? (await fromRef(store, name)) ?? (await fromRuns(store, name));
  if (found !== undefined) return found;
  throw new Failure(
    'NOT_FOUND',
    `no artifact is called ${name}: expected a digest, the start of one, a ref or <stage>.<output>`,
  );
}

async function withPrefix(store: Store, prefix: string, { also = [] }: FindOptions): Promise<Digest[]> {
  const all = new Set([...(await store.artifacts.list()), ...also]);
  return [...all].filter((digest) => digest.startsWith(`sha256:${prefix}`)).sort();
}

async function fromRef(store: Store, name: string): Promise<Digest | undefined> {
  const isRefName =
    /^[\p{L}\p{N}_@=+-][\p{L}\p{N}_@=+./-]*$/u.test(name) && !/(^|\/)(\d+|\..*)?(\/|$)/.test(name);
  const text = isRefName ? (await store.refs.read(name))?.text.trim() : undefined;
  return text !== undefined && isDigest(text) ? text : undefined;
}

async function fromRuns(store: Store, name: string): Promise<Digest | undefined> {
  const runs = await listRuns(store.documents);
  const slash = name.indexOf('/');
  const wanted = slash < 0 ? undefined : name.slice(0, slash);
  const chosen = wanted === undefined ? runs.slice(0, runsLookedAt) : chooseRuns(runs, wanted);
  const target = name.slice(slash + 1);
  for (const run of chosen) {
    const stages = (await listFinished(store.documents, run)).at(-1)?.stages ?? [];
    for (const { stage, outputs } of stages) {
      if (outputs === undefined || (target !== stage && !target.startsWith(`${stage}.`))) continue;
      const output = target === stage ? theOnly(stage, outputs) : target.slice(stage.length + 1);
      const ref = outputs[output];
      if (ref !== undefined) return ref.digest;
    }
  }
  return undefined;
}

/** `last`, an id, or the end of one. */
function chooseRuns(runs: readonly string[], wanted: string): string[] {
  if (wanted === 'last') return runs.slice(0, 1);
  return runs.filter((run) => run === wanted || run.endsWith(wanted));
}

function theOnly(stage: string, outputs: Readonly<Record<string, unknown>>): string {
  const names = Object.keys(outputs);
  const [first, second] = names;
  if (first !== undefined && second === undefined) return first;
  throw new UsageError(
    `${stage} has ${names.length} outputs: ${names.map((name) => `${stage}.${name}`).join(', ')}`,
  );
}

function longer(digest: Digest): string {
  return `${shortDigest(digest)}…`;
}
