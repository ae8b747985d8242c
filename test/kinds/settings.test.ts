import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { kindNamed } from '../../kinds/registry.ts';

/** Where the engine's own settings of a kind are declared; they are compared with the kind's schema. */
const dataclasses: Record<string, { file: string; name: string }> = {
  prepare: { file: 'stages/prepare.py', name: 'PrepareSettings' },
  pretrain: { file: 'methods/pretrain.py', name: 'PretrainSettings' },
  generate: { file: 'methods/generate/answers.py', name: 'GenerateSettings' },
  'score-experts': { file: 'stages/score_experts.py', name: 'ScoreExpertsSettings' },
  'score-blocks': { file: 'stages/score_blocks.py', name: 'ScoreBlocksSettings' },
  assemble: { file: 'stages/assemble.py', name: 'AssembleSettings' },
  distill: { file: 'methods/distill/train.py', name: 'DistillSettings' },
  reinforce: { file: 'methods/reinforce/train.py', name: 'ReinforceSettings' },
  'calibrate-kv': { file: 'stages/calibrate_kv.py', name: 'CalibrateKvSettings' },
};

interface Field {
  name: string;
  /** Undefined when required, or when its default is not a plain value. */
  default: unknown;
  isRequired: boolean;
}

function fieldsOf({ file, name }: { file: string; name: string }): Field[] {
  const text = readFileSync(new URL(`../../engine/src/fretsaw_engine/${file}`, import.meta.url), 'utf8');
  const body = new RegExp(`^class ${name}:\\n((?:(?: {4}.*)?\\n)*)`, 'm').exec(text)?.[1] ?? '';
  const fields = body.split(/^ {4}(?=def )/m)[0] ?? '';
  return [...fields.matchAll(/^ {4}(\w+): ([^=\n]+?)(?: = (.+))?$/gm)].map(([, field = '', , value]) => ({
    name: field,
    default: plain(value),
    isRequired: value === undefined,
  }));
}

function plain(text: string | undefined): unknown {
  if (text === undefined || text === 'None') return undefined;
  if (text === 'True' || text === 'False') return text === 'True';
  if (/^-?[\d._e+-]+$/.test(text)) return Number(text.replace(/_/g, ''));
  return /^"[^"]*"$/.test(text) ? text.slice(1, -1) : undefined;
}

describe('the settings of engine kinds', () => {
  it.each(Object.keys(dataclasses))('of %s are those that its Python takes, with its defaults', (name) => {
    const declared = dataclasses[name];
    if (declared === undefined) throw new Error(`bug: ${name}`);
    const fields = fieldsOf(declared);
    const { properties, required = [] } = kindNamed(name).with;
    expect(Object.keys(properties).sort()).toEqual(fields.map((field) => field.name).sort());
    for (const field of fields) {
      if (field.isRequired) expect(required, `${name}.${field.name}`).toContain(field.name);
      if (field.default !== undefined)
        expect(properties[field.name]?.default, `${name}.${field.name}`).toEqual(field.default);
    }
  });
});
