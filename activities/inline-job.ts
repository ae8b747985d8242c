import type { Json } from '../core/canonical-json.ts';

/** What a stage of runner `inline` is given: the worker's own activity does its work, in TypeScript. */
export interface InlineJob {
  /** The stage's `with`, resolved with defaults. */
  settings: Record<string, Json>;
  /** Folders of the verified inputs, by name: one, a list in order, or a map. */
  inputs: Record<string, string | string[] | Record<string, string>>;
  /** The same, as digests. */
  inputDigests: Record<string, string | string[] | Record<string, string>>;
  /** Folders to fill, by output. */
  outputs: Record<string, string>;
  progress: (step: number, total: number, unit: string) => void;
  stage: string;
  run: string;
}
