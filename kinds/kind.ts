import type { ArtifactType } from '../core/artifact.ts';
import type { Json } from '../core/canonical-json.ts';
import type { ModelShape } from '../costs/config.ts';
import type { ObjectSetting } from './setting.ts';

/** `with` after defaults. */
export type Settings = Readonly<Record<string, Json>>;

export interface InputPort {
  description: string;
  types: readonly ArtifactType[] | 'any';
  /**
   * `list` takes one source or many and is bound as a list; `map` takes named sources;
   * `list-or-map` keeps the form that was written. Absent or false: exactly one.
   */
  many?: 'list' | 'map' | 'list-or-map' | false;
  optional?: boolean;
}

export type Inputs = Readonly<Record<string, InputPort>>;
export type Outputs = Readonly<Record<string, ArtifactType>>;

/** Who runs it: a Python job, a Node job, the user's own argv, or the worker's activity itself. */
export type Runner = 'engine' | 'node' | 'command' | 'inline';

/** Seconds of one device (GPU seconds when `resources.gpus` > 0, else CPU core seconds). */
export interface Range {
  low: number;
  high: number;
}

export interface EstimateInput {
  with: Settings;
  resources: {
    cpus: number;
    gpus: number;
    micro_batch?: number;
    memory_gib?: number;
    context_parallel?: number;
    recompute_activations?: number;
    /** Only asked about (`fretsaw costs layout`): the engine shards over all GPUs, and serves on a node's. */
    shard?: number;
    tensor_parallel?: number;
  };
  /** Size of the model that the stage works on, when it is known. */
  model?: ModelSize;
  /** The data set that it reads, as far as its making says. */
  data?: DataSize;
}

export interface ModelSize {
  parameters: number;
  /** Parameters that one token touches. */
  activeParameters: number;
  layers: number;
  /** All its geometry, when that is known. */
  shape?: ModelShape;
}

/** What a stage asks of its GPUs, as far as formulas say. */
export interface Work {
  flops: number;
  /** Bytes each GPU needs, by what for; `total` among them. */
  memory: Readonly<Record<string, number>>;
  /** GPU seconds; undefined where what is asked for does not fit, so that nothing can be said. */
  seconds: Range | undefined;
}

/** Upper bounds, from what was asked for. */
export interface DataSize {
  examples: number;
  tokens: number;
}

/** The type of a stage: what it takes, what it leaves, and how it is run. */
export interface Kind {
  name: string;
  /** Counts up when the same key document may give other results; see kinds/pinned.json. */
  version: number;
  summary: string;
  /** A stage in YAML, for help and the generated schema. */
  example: string;
  with: ObjectSetting;
  /** `open`: the user names the inputs. */
  inputs: Inputs | 'open';
  outputs: Outputs | ((settings: Settings) => Outputs);
  runner: Runner;
  /** `yes`: equal bytes anywhere; `cpu`: equal bytes on CPUs of one instruction set and thread count. */
  deterministic: 'yes' | 'cpu' | 'no';
  /** Sequences of an optimiser step over all ranks, for kinds that obey `resources.micro_batch`. */
  sequencesPerStep?: (settings: Settings) => number | undefined;
  /** Tokens of a sequence that GPUs may share, for kinds that obey `resources.context_parallel`. */
  sharedTokens?: (settings: Settings) => number | undefined;
  /** Another key's snapshot can be its input `continues`. */
  canContinue?: true;
  /** Where its code digest starts; both are followed through their own imports. */
  code: { python: readonly string[]; typescript: readonly string[] };
  /** Device seconds, undefined when nothing is known; never a guess without a source. */
  estimate: (input: EstimateInput) => Range | undefined;
  /** FLOPs and memory a GPU; absent where the kind uses none. */
  work?: (input: EstimateInput) => Work | undefined;
}

export function outputsOf(kind: Kind, settings: Settings): Outputs {
  return typeof kind.outputs === 'function' ? kind.outputs(settings) : kind.outputs;
}

export function numberIn(settings: Settings, name: string): number | undefined {
  const value = settings[name];
  return typeof value === 'number' ? value : undefined;
}
