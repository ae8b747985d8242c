import type { ArtifactRef } from '../core/artifact.ts';
import type { Json } from '../core/canonical-json.ts';
import type { Digest, Sha256 } from '../core/digest.ts';
import { stageKey, type KeyDocument, type StageKey } from '../core/keys.ts';
import type { Work } from '../kinds/kind.ts';
import { bindKey, isUnpinned, pinImport, type Versions } from './bind.ts';
import { costOf, totalOf, workOf, type Cost, type Sizes, type Totals } from './cost.ts';
import { nearestRecord, type Compare, type Nearest, type PastRecord } from './nearest.ts';
import { sourcesOf, type Plan, type PlannedStage, type Source } from './plan.ts';

/** What is known of a key: a record, and whether every byte of its outputs is still there. */
export interface Found {
  outputs: Readonly<Record<string, ArtifactRef>>;
  /** `output/path` of what is gone; empty for a hit. */
  missing: readonly string[];
}

/** The store, as far as a plan needs it; every question is asked for many at once. */
export interface Lookups {
  find: (keys: readonly StageKey[]) => Promise<ReadonlyMap<StageKey, Found>>;
  /** Earlier records of the named kinds, newest first; asked only when something is not a hit. */
  past: (kinds: readonly string[]) => Promise<readonly PastRecord[]>;
  /** Digests of unpinned imports that can be hashed here and now (local paths), by stage name. */
  observe: (imports: readonly PlannedStage[]) => Promise<ReadonlyMap<string, Digest>>;
}

export interface ResolveOptions {
  lookups: Lookups;
  versions: Versions;
  sha256: Sha256;
  compare: Compare;
  /** Sizes of models and data sets, where they are known. */
  sizes?: Sizes;
}

/** Why a stage is not simply there. */
export type Why =
  | { kind: 'new' }
  | { kind: 'changed'; nearest: Nearest }
  | { kind: 'bytes-gone'; missing: readonly string[] }
  /** An import whose bytes cannot be hashed from here. */
  | { kind: 'unpinned'; location: string }
  /** It is there if these give what they gave before. */
  | { kind: 'depends'; unless: readonly { source: Source; digest: Digest }[]; nearest: Nearest };

export type ResolvedStage =
  | { name: string; state: 'hit'; key: StageKey; outputs: Readonly<Record<string, ArtifactRef>> }
  | { name: string; state: 'run'; key: StageKey | null; why: Why; cost: Cost | null; work: Work | null }
  | { name: string; state: 'maybe'; key: null; why: Why; cost: Cost | null; work: Work | null };

export interface Resolution {
  schema: 'fretsaw/resolution/v1';
  spec: Plan['spec'];
  stages: readonly ResolvedStage[];
  totals: Totals;
}

/** What of a plan is there, what would run and why, and what may have to. */
export async function resolve(plan: Plan, options: ResolveOptions): Promise<Resolution> {
  const search = new Search(plan, options);
  await search.findHits();
  const stages = await search.explainMisses();
  return { schema: 'fretsaw/resolution/v1', spec: plan.spec, stages, totals: totalOf(stages) };
}

interface Bound {
  key: StageKey;
  document: KeyDocument;
  found: Found | undefined;
}

class Search {
  readonly #plan: Plan;
  readonly #options: ResolveOptions;
  readonly #bound = new Map<string, Bound>();
  readonly #observed = new Map<string, Digest>();

  constructor(plan: Plan, options: ResolveOptions) {
    this.#plan = plan;
    this.#options = options;
  }

  /** Layer by layer: all stages whose inputs are known are looked up with one question. */
  async findHits(): Promise<void> {
    const unpinned = this.#plan.stages.filter(isUnpinned);
    if (unpinned.length > 0) {
      for (const [name, digest] of await this.#options.lookups.observe(unpinned))
        this.#observed.set(name, digest);
    }
    let open = this.#plan.stages;
    for (;;) {
      const ready = open.filter((stage) => this.#isReady(stage));
      if (ready.length === 0) return;
      const made = ready.map((stage) => [stage.name, this.#bind(stage)] as const);
      const found = await this.#options.lookups.find(made.map(([, { key }]) => key));
      for (const [name, bound] of made) this.#bound.set(name, { ...bound, found: found.get(bound.key) });
      open = open.filter((stage) => !this.#bound.has(stage.name));
    }
  }

  async explainMisses(): Promise<ResolvedStage[]> {
    const { stages } = this.#plan;
    const misses = stages.filter(({ name }) => !this.#isHit(name));
    const kinds = [...new Set(misses.map(({ kind }) => kind).filter((kind) => kind !== 'import'))];
    const past = kinds.length === 0 ? [] : await this.#options.lookups.past(kinds);
    const byKind = new Map(
      kinds.map((kind) => [kind, past.filter(({ document }) => document.kind === kind)]),
    );
    return stages.map((stage) => this.#resolveStage(stage, byKind.get(stage.kind) ?? []));
  }

  #resolveStage(stage: PlannedStage, past: readonly PastRecord[]): ResolvedStage {
    const { name } = stage;
    const bound = this.#bound.get(name);
    const cost = costOf(stage, { past, sizes: this.#options.sizes });
    const work = workOf(stage, this.#options.sizes);
    if (bound !== undefined) {
      const { key, found } = bound;
      if (found?.missing.length === 0) return { name, state: 'hit', key, outputs: found.outputs };
      const lost =
        found === undefined ? undefined : ({ kind: 'bytes-gone', missing: found.missing } as const);
      return {
        name,
        state: 'run',
        key,
        why: lost ?? this.#whyNew({ name, document: bound.document }, past),
        cost,
        work,
      };
    }
    if (stage.kind === 'import')
      return {
        name,
        state: 'maybe',
        key: null,
        why: { kind: 'unpinned', location: locationOf(stage) },
        cost,
        work,
      };
    return this.#resolveUnbound(stage, past, { cost, work });
  }

  /**
   * A stage with unknown inputs: early cut-off may still save it, if an older record asked for the same
   * with whatever these inputs were then.
   */
  #resolveUnbound(
    stage: PlannedStage,
    past: readonly PastRecord[],
    figures: { cost: Cost | null; work: Work | null },
  ): ResolvedStage {
    const { name } = stage;
    const document = this.#documentWithGaps(stage);
    const nearest = nearestRecord({ name, document }, past, this.#options.compare);
    if (nearest === undefined) return { name, state: 'run', key: null, why: { kind: 'new' }, ...figures };
    const gaps = new Map(this.#unknownSources(stage).map((source) => [gapOf(source), source]));
    const unless = nearest.differences.flatMap(({ a, b }) => {
      const source = typeof b === 'string' ? gaps.get(b) : undefined;
      return source === undefined || typeof a !== 'string' ? [] : [{ source, digest: a as Digest }];
    });
    if (unless.length === nearest.differences.length) {
      return { name, state: 'maybe', key: null, why: { kind: 'depends', unless, nearest }, ...figures };
    }
    return { name, state: 'run', key: null, why: { kind: 'changed', nearest }, ...figures };
  }

  #whyNew(asked: { name: string; document: KeyDocument }, past: readonly PastRecord[]): Why {
    const nearest = nearestRecord(asked, past, this.#options.compare);
    return nearest === undefined ? { kind: 'new' } : { kind: 'changed', nearest };
  }

  #isHit(name: string): boolean {
    return this.#bound.get(name)?.found?.missing.length === 0;
  }

  #isReady(stage: PlannedStage): boolean {
    if (isUnpinned(stage) && !this.#observed.has(stage.name)) return false;
    return Object.values(stage.inputs)
      .flatMap(sourcesOf)
      .every((source) => this.#digestOf(source) !== undefined);
  }

  #bind(stage: PlannedStage): { key: StageKey; document: KeyDocument } {
    const digest = this.#observed.get(stage.name);
    const pinned = digest === undefined ? stage : pinImport(stage, digest);
    const document = bindKey(
      pinned,
      (source) => {
        const known = this.#digestOf(source);
        if (known === undefined)
          throw new Error(`bug: ${stage.name} reads ${source.stage}.${source.output}, which is not there`);
        return known;
      },
      this.#options.versions,
    );
    return { document, key: stageKey(document, this.#options.sha256) };
  }

  /** The key document with a stand-in for each input that is not known yet. */
  #documentWithGaps(stage: PlannedStage): KeyDocument {
    return bindKey(
      stage,
      (source) => this.#digestOf(source) ?? (gapOf(source) as Digest),
      this.#options.versions,
    );
  }

  #unknownSources(stage: PlannedStage): Source[] {
    return Object.values(stage.inputs)
      .flatMap(sourcesOf)
      .filter((source) => this.#digestOf(source) === undefined);
  }

  /** What a source holds; an import whose digest is known is known, even if it has to be fetched again. */
  #digestOf(source: Source): Digest | undefined {
    const bound = this.#bound.get(source.stage);
    const found = this.#isHit(source.stage) ? bound?.found?.outputs[source.output]?.digest : undefined;
    if (found !== undefined) return found;
    const pinned: Json | undefined =
      bound?.document.kind === 'import' ? bound.document.with['digest'] : undefined;
    return typeof pinned === 'string' ? (pinned as Digest) : undefined;
  }
}

function locationOf({ with: { location } }: PlannedStage): string {
  return typeof location === 'string' ? location : '';
}

function gapOf({ stage, output }: Source): string {
  return `${stage}.${output} of this run`;
}
