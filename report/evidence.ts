import type { Json } from '../core/canonical-json.ts';

/** Everything a report is made from, read and checked; what a run did not make is absent. */
export interface Evidence {
  title: string;
  /** The model that retention is measured against. */
  baseline: string;
  models: Model[];
  layers: Layer[] | undefined;
  ranking: LayerRanking[] | undefined;
  /** kept[child][layer]: parent's expert ids. */
  kept: Readonly<Record<string, readonly (readonly number[])[]>>;
  scores: LayerCurve[] | undefined;
  curves: Readonly<Record<string, Curve>>;
  proof: Proof | undefined;
  verdict: Verdict | undefined;
  comparisons: Comparison[];
  /** Of every model against every baseline that was run. */
  retentions: Retention[];
  /** Under what unlike conditions models were compared all the same, because the spec allows it. */
  unlike: string[];
  provenance: Provenance;
}

export interface Model {
  name: string;
  label: string;
  suite: EffortResult[];
  tasks: (EffortResult & { task: string })[];
  conditions: Conditions;
  timing: Timing | undefined;
}

export interface EffortResult {
  effort: string;
  examples: number | undefined;
  accuracy: number;
  /** One standard deviation of the accuracy. */
  standardError: number;
  meanTokens: number;
  /** Share of answers that hit the token cap. */
  capHitRate: number;
  /** Share of answers with a final channel. */
  finalRate: number;
  /** 95 % of the accuracy. */
  interval: readonly [number, number];
  /** Tokens of an answer. */
  tokenQuantiles: { p10: number; p50: number; p90: number; p99: number };
  /** Answers that never came, or could not be scored. */
  errors: number;
}

/** Under what a model's results were made: models compare only where these are equal. */
export interface Conditions {
  /** Greedy, or temperature and seed, in words. */
  decoding: string;
  cells: Cell[];
}

interface Cell {
  task: string;
  effort: string;
  version: number;
  /** Digest of the questions and how they are judged. */
  questions: string;
  /** Versions by scorer, in words. */
  scorers: string;
  maxNewTokens: number;
}

export interface Timing {
  tokensPerSecond: number;
  /** Over repeats; null where it was measured once. */
  standardError: number | null;
  runner: string;
  threads: number | undefined;
  batchSize: number | undefined;
  /** What it ran on; undefined where nothing says. */
  machine: string | undefined;
  /** The model that was measured: another of the same architecture where this one's own time may not count. */
  measuredOn: string;
}

export interface Layer {
  experts: number;
  window: number | null;
  parentExperts: number;
  parentWindow: number | null;
}

/** Experts of a layer, best first. */
export type LayerRanking = { expert: number; score: number }[];

export interface LayerCurve {
  layer: number;
  choices: { experts: number; score: number }[];
  windows: { window: number | null; score: number }[];
  longContext: { window: number | null; accuracyLoss: number; standardError: number; isUndecided: boolean }[];
}

/** Columns of numbers by name over steps. */
export interface Curve {
  steps: number[];
  values: Readonly<Record<string, (number | null)[]>>;
}

/** What the report shows of a selection's proof; the document itself holds more. */
export interface Proof {
  status: string;
  value: number;
  bound: number | undefined;
  lpBound: number | undefined;
  gap: number | undefined;
  optimality: string | undefined;
  constraints: {
    name: string;
    unit: string;
    sense: string;
    limit: number;
    used: number;
    /** What is left of the limit. */
    slack: number | undefined;
    shadowPrice: number;
    /** Best score with the limit 1 % tighter and looser; undefined where nothing fits, or a limit is a count. */
    tighter: number | undefined;
    looser: number | undefined;
  }[];
  baselines: { name: string; value: number }[];
  grid: { multiple: number; value: number }[];
  pareto:
    | { constraint: string; unit: string; points: { limit: number; value: number; used: number }[] }
    | undefined;
  layers: {
    stability: number | undefined;
    pays: string | undefined;
    /** By how much the best whole score rises if the layer must keep all; undefined where nothing fits then. */
    keepingAll: number | undefined;
    flipsTo: Shape | undefined;
  }[];
  /** The next best selections, each unlike all before it. */
  alternatives: { value: number; layers: Shape[] }[];
  /** What the selection itself chose, by layer. */
  chosen: Shape[];
  references: Reference[];
  size: { parent: Size; child: Size } | undefined;
  kv: { context: number; parent: number; child: number }[];
  scenarios: { name: string; hardware: string; gpus: number; ratio: number; worst: number; mean: number }[];
}

export interface Shape {
  experts: number;
  window: number | null;
}

/** Another architecture beside the selection, and the best selection at what it uses. */
export interface Reference {
  name: string;
  /** Undefined where it has a choice that was not scored. */
  value: number | undefined;
  missing: string[];
  gains: { name: string; ratio: number | undefined }[];
  sameBudget:
    { value: number; layersUnlike: number; gains: { name: string; ratio: number | undefined }[] } | undefined;
}

export interface Size {
  parameters: number;
  activeParameters: number;
  bytes: number;
  experts: number;
  fullAttentionLayers: number;
}

export interface Verdict {
  passed: boolean;
  rules: {
    rule: string;
    passed: boolean;
    value: number | null;
    limit: number;
    standardError: number | null;
    interval: readonly [number, number] | null;
    /** Share of resamples in which the limit holds. */
    support: number | null;
    note: string;
  }[];
  /** A person let it pass all the same. */
  override: { by: string; reason: string } | null;
}

/** Accuracy over a baseline's. */
export interface Retention {
  model: string;
  baseline: string;
  /** Null: the mean over efforts. */
  effort: string | null;
  /** Null: the whole suite. */
  task: string | null;
  value: number;
  standardError: number | null;
  interval: readonly [number, number] | null;
}

export interface Comparison {
  title: string;
  left: string;
  right: string;
  /** Over the questions that both answered, by effort; absent where answers were not kept. */
  paired: Readonly<Record<string, PairedDifference>>;
}

/** Accuracy of the left model minus that of the right. */
export interface PairedDifference {
  value: number;
  standardError: number;
  interval: readonly [number, number];
  /** Questions that both answered. */
  examples: number;
}

/** One answer to one question, as far as statistics need it; a question may have several. */
export interface Answer {
  task: string;
  effort: string;
  id: string;
  isCorrect: boolean;
  tokens: number;
  isCapped: boolean;
  hasFinal: boolean;
}

export interface Provenance {
  /** Digests by input, or input/name. */
  inputs: Readonly<Record<string, string>>;
  settings: Json;
}

export const effortOrder = ['low', 'medium', 'high'];

/** Efforts that any model has, least first; unknown ones last by name. */
export function effortsOf(models: readonly Model[]): string[] {
  const found = new Set(models.flatMap((model) => model.suite.map((result) => result.effort)));
  const rank = (effort: string): number => {
    const index = effortOrder.indexOf(effort);
    return index < 0 ? effortOrder.length : index;
  };
  return [...found].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

export function suiteAt(model: Model, effort: string): EffortResult | undefined {
  return model.suite.find((result) => result.effort === effort);
}

export function modelNamed(evidence: Evidence, name: string): Model | undefined {
  return evidence.models.find((model) => model.name === name);
}
