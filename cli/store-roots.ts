import type { Plan } from '../compiler/plan.ts';
import type { ArtifactRef } from '../core/artifact.ts';
import type { Digest } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';
import { listAttempts } from '../lineage/attempt.ts';
import { listFinished, listRuns, readStarted, type RunFinished } from '../lineage/run.ts';
import type { Store } from '../store/store.ts';
import { kindVersions } from '../workers/kind-versions.ts';
import { resolvePlan } from './resolve-plan.ts';

export interface RootOptions {
  /** Where the kinds' code is, which keys depend on. */
  installationRoot: string;
  /** Newest runs of each spec that keep their artifacts. */
  runs: number;
}

/**
 * What must stay: what refs name (releases, pins), what runs that have not ended use or may resume from,
 * and what the newest runs of each spec made and used, with their attempts' logs.
 */
export async function keptArtifacts(store: Store, options: RootOptions): Promise<Digest[]> {
  const kept = new Set<Digest>(await store.upkeep.referred());
  const seen = new Map<string, number>();
  for (const run of await listRuns(store.documents)) {
    const spec = (await readStarted(store.documents, run))?.spec.name ?? '';
    const ended = (await listFinished(store.documents, run)).at(-1);
    const rank = (seen.get(spec) ?? 0) + 1;
    seen.set(spec, rank);
    if (ended !== undefined && rank > options.runs) continue;
    const used = ended === undefined ? await usedByRunning(store, run, options) : usedByEnded(ended);
    for (const { digest } of used.outputs) kept.add(digest);
    for (const key of used.keys) for (const digest of await leftByAttempts(store, key)) kept.add(digest);
  }
  return [...kept];
}

interface Used {
  outputs: ArtifactRef[];
  keys: StageKey[];
}

function usedByEnded({ stages }: RunFinished): Used {
  return {
    outputs: stages.flatMap(({ outputs }) => Object.values(outputs ?? {})),
    keys: stages.map(({ key }) => key).filter((key) => key !== undefined),
  };
}

async function usedByRunning(store: Store, run: string, options: RootOptions): Promise<Used> {
  const text = await store.documents.read(`runs/${run}/plan`);
  if (text === undefined) return { outputs: [], keys: [] };
  const plan = JSON.parse(text) as Plan; // written by this program, and never changed
  const { versions } = kindVersions(options.installationRoot, new Set(plan.stages.map(({ kind }) => kind)));
  const { hits, keys } = await resolvePlan(plan, store, versions);
  return {
    outputs: [...hits.values()].flatMap(({ outputs }) => Object.values(outputs)),
    keys: [...keys.values()],
  };
}

/** Logs; and of a key without a record the snapshots, from which its next attempt goes on. */
async function leftByAttempts(store: Store, key: StageKey): Promise<Digest[]> {
  const logs = (await listAttempts(store.documents, key)).map(({ logs: ref }) => ref?.digest);
  const isMade = (await store.records.latest(key)) !== undefined;
  const snapshots = isMade ? [] : (await store.snapshots.list(key)).map(({ artifact }) => artifact.digest);
  return [...logs.filter((digest) => digest !== undefined), ...snapshots];
}
