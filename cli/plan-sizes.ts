import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Sizes } from '../compiler/cost.ts';
import { isLocal } from '../compiler/locations.ts';
import { sourcesOf, type PlannedStage } from '../compiler/plan.ts';
import type { Json } from '../core/canonical-json.ts';
import { isFailure } from '../core/errors.ts';
import { parseModelConfig, type ModelShape } from '../costs/config.ts';
import { modelSize } from '../costs/geometry.ts';
import { publishedModels } from '../costs/published-models.ts';
import { numberIn, type DataSize, type ModelSize } from '../kinds/kind.ts';

/** Inputs through which a stage gets the model, or the data, that it works on. */
export const modelInputs = ['model', 'teacher', 'models', 'onnx'];
const dataInputs = ['prompts', 'tasks', 'data'];

/**
 * What is known of each stage's work before anything ran: a model is as big as the import that it
 * comes from (a pruned child is smaller, so this errs upwards), a data set as its making asks for.
 */
export function planSizes(stages: readonly PlannedStage[]): Sizes {
  const byName = new Map(stages.map((stage) => [stage.name, stage]));
  const upstream = (stage: PlannedStage, inputs: readonly string[]): PlannedStage[] =>
    inputs.flatMap((name) => {
      const input = stage.inputs[name];
      return input === undefined ? [] : sourcesOf(input).flatMap((source) => byName.get(source.stage) ?? []);
    });
  const model = remembered((stage): ModelSize | undefined => {
    if (stage.kind === 'import') return importedSize(stage);
    return firstKnown(upstream(stage, modelInputs), model);
  });
  const data = remembered((stage): DataSize | undefined => {
    const examples = stage.kind === 'prepare' ? numberIn(stage.with, 'examples') : undefined;
    if (examples !== undefined)
      return { examples, tokens: examples * (numberIn(stage.with, 'sequence_length') ?? 0) };
    return firstKnown(upstream(stage, dataInputs), data);
  });
  return (stage) => {
    const [modelOf, dataOf] = [model(stage), firstKnown(upstream(stage, dataInputs), data)];
    return {
      ...(modelOf === undefined ? {} : { model: modelOf }),
      ...(dataOf === undefined ? {} : { data: dataOf }),
    };
  };
}

function firstKnown<T>(
  stages: readonly PlannedStage[],
  find: (stage: PlannedStage) => T | undefined,
): T | undefined {
  for (const stage of stages) {
    const found = find(stage);
    if (found !== undefined) return found;
  }
  return undefined;
}

function remembered<T>(find: (stage: PlannedStage) => T): (stage: PlannedStage) => T {
  const known = new Map<string, T>();
  return (stage) => {
    const before = known.get(stage.name);
    if (before !== undefined) return before;
    const found = find(stage);
    known.set(stage.name, found);
    return found;
  };
}

function importedSize({ with: { type, location } }: PlannedStage): ModelSize | undefined {
  if (type !== 'checkpoint' || typeof location !== 'string') return undefined;
  if (!isLocal(location)) return sizeOf(publishedModels[location.replace(/\/$/, '')]);
  const path = join(location, 'config.json');
  if (!existsSync(path)) return undefined;
  return sizeOfConfig(readFileSync(path, 'utf8'));
}

/** Of a config.json; undefined for one that is no gpt-oss: its cost stays unknown, the stage that reads it says why. */
export function sizeOfConfig(text: string): ModelSize | undefined {
  try {
    return sizeOf(parseModelConfig({ value: JSON.parse(text) as Json, path: 'config.json' }));
  } catch (error) {
    if (isFailure(error) || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function sizeOf(shape: ModelShape | undefined): ModelSize | undefined {
  return shape === undefined ? undefined : { ...modelSize(shape), layers: shape.layers.length, shape };
}
