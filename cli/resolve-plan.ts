import { bindKey, isUnpinned, type Versions } from '../compiler/bind.ts';
import type { Plan } from '../compiler/plan.ts';
import type { ArtifactRef } from '../core/artifact.ts';
import { stageKey, type StageKey } from '../core/keys.ts';
import { parseRecord } from '../lineage/record-statement.ts';
import { sha256Text } from '../store/sha256.ts';
import type { Store } from '../store/store.ts';

export interface Resolved {
  /** Stages whose record is there with every byte, in plan order. */
  hits: Map<string, { key: StageKey; outputs: Record<string, ArtifactRef> }>;
  /** The others. */
  misses: string[];
  /** Keys of all stages whose inputs are known, made or not. */
  keys: Map<string, StageKey>;
}

/** What of a plan the store has already. Reads only the store. */
export async function resolvePlan(plan: Plan, store: Store, versions: Versions): Promise<Resolved> {
  const resolved: Resolved = { hits: new Map(), misses: [], keys: new Map() };
  for (const stage of plan.stages) {
    const isOpen = isUnpinned(stage) || stage.after.some((name) => !resolved.hits.has(name));
    const hit = isOpen ? undefined : await find(plan, stage, { store, versions, ...resolved });
    if (hit === undefined) resolved.misses.push(stage.name);
    else resolved.hits.set(stage.name, hit);
  }
  return resolved;
}

interface Around {
  store: Store;
  versions: Versions;
  hits: Resolved['hits'];
  keys: Resolved['keys'];
}

type Hit = NonNullable<ReturnType<Resolved['hits']['get']>>;

async function find(
  plan: Plan,
  stage: Plan['stages'][number],
  { store, versions, hits, keys }: Around,
): Promise<Hit | undefined> {
  const document = bindKey(
    stage,
    ({ stage: from, output }) => {
      const ref = hits.get(from)?.outputs[output];
      if (ref === undefined)
        throw new Error(`bug: ${plan.spec.name}: ${stage.name} reads ${from}.${output}, which is not there`);
      return ref.digest;
    },
    versions,
  );
  const key = stageKey(document, sha256Text);
  keys.set(stage.name, key);
  const record = await store.records.latest(key);
  if (record === undefined) return undefined;
  const { outputs } = parseRecord(record);
  for (const { digest } of Object.values(outputs)) {
    if ((await store.artifacts.missing(digest)).length > 0) return undefined;
  }
  return { key, outputs };
}
