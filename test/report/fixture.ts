import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { seededRandom } from '../../selection/random.ts';

/** Made-up results in the stored formats: for tests of rendering, never for figures. */
export const modelNames = [
  'parent',
  'parent_fp8',
  'control',
  'child',
  'distilled',
  'rl_high',
  'rl_mixed',
  'average',
  'fp8',
  'fp8_unscaled',
];

const levels: Readonly<Record<string, number>> = {
  parent: 1, parent_fp8: 0.99, control: 0.45, child: 0.72, distilled: 0.96, rl_high: 0.99, rl_mixed: 0.975, average: 0.985, fp8: 0.985, fp8_unscaled: 0.97,
}; // prettier-ignore
const accuracies: Readonly<Record<string, number>> = { low: 0.66, medium: 0.79, high: 0.89 };
const tokens: Readonly<Record<string, number>> = { low: 11, medium: 24, high: 46 };

export function resultsOf(name: string): Record<string, unknown> {
  const random = seededRandom(Array.from(name).reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7));
  const line = (effort: string, examples: number): Record<string, unknown> => {
    const accuracy = Math.min(
      0.99,
      (accuracies[effort] ?? 0) * (levels[name] ?? 1) + (random() - 0.5) * 0.02,
    );
    return {
      effort,
      examples,
      accuracy,
      standard_error: Math.sqrt((accuracy * (1 - accuracy)) / examples),
      mean_tokens: (tokens[effort] ?? 0) * (name === 'rl_high' ? 1.25 : 0.95 + random() * 0.1),
      cap_hit_rate: random() * 0.03,
      final_rate: 1 - random() * 0.04,
      interval: [accuracy - 0.03, Math.min(1, accuracy + 0.03)],
      token_quantiles: { p10: 4, p50: 10, p90: 20, p99: 31 },
      errors: 0,
    };
  };
  const efforts = ['low', 'medium', 'high'];
  return {
    schema: 'fretsaw/results/v3',
    model: {},
    decoding: { kind: 'greedy' },
    suite: efforts.map((effort) => line(effort, 240)),
    tasks: ['arithmetic', 'instructions', 'recall'].flatMap((task) =>
      efforts.map((effort) => ({
        ...{ task, version: 1, questions: `sha256:${task}`, scorers: { exact: 1 } },
        ...{ max_new_tokens: 64, ...line(effort, 80) },
      })),
    ),
  };
}

/** One answer a question, right in the share that is asked for, so that `better` models are right where others are too. */
export function answerLines(share: number, tokens = 10): string {
  const lines = ['arithmetic', 'recall'].flatMap((task) =>
    ['low', 'high'].flatMap((effort) =>
      Array.from({ length: 40 }, (_, index) => ({
        ...{ id: `${task} ${index}`, task, effort, sample: 0, correct: (index * 7) % 40 < share * 40 },
        ...{ tokens: tokens * (effort === 'high' ? 3 : 1) + (index % 5), capped: index === 0, final: 'x' },
      })),
    ),
  );
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

export function timingsOf(name: string): Record<string, unknown> {
  const random = seededRandom(name.length);
  const speed = (name.startsWith('parent') ? 3000 : 3700) * (0.98 + random() * 0.04);
  return {
    schema: 'fretsaw/timings/v1',
    runner: 'onnxruntime-node',
    threads: 2,
    batch_size: 32,
    tokens: 30000,
    seconds: 30000 / speed,
    tokens_per_second: speed,
  };
}

export function rankingDocument(layers: number, experts: number): Record<string, unknown> {
  const random = seededRandom(5);
  return {
    schema: 'fretsaw/ranking/v1',
    metric: 'reap',
    tokens: 10000,
    layers: Array.from({ length: layers }, (_, layer) => ({
      layer,
      experts: Array.from({ length: experts }, (_, expert) => ({
        expert,
        score: random() ** (1 + layer / 4),
        tokens: 500,
      })).sort((a, b) => b.score - a.score),
    })),
  };
}

export function curveLines(kind: 'distill' | 'reinforce', steps: number): string {
  const random = seededRandom(steps);
  return Array.from({ length: steps }, (_, index) => {
    const step = index + 1;
    const noise = random() - 0.5;
    const row =
      kind === 'distill'
        ? { step, loss: 0.9 * Math.exp(-step / 40) + 0.06 + noise * 0.03, learning_rate: 1e-3 }
        : {
            step,
            reward: 0.6 + 0.3 * (1 - Math.exp(-step / 25)) + noise * 0.12,
            length: 40 - step / 6 + noise * 6,
            reward_std: 0.2,
            loss: noise * 0.01,
          };
    return JSON.stringify({ ...row, kl: 'nan' });
  }).join('\n');
}

/** Writes one document a folder, as artifacts are laid out; returns the folder. */
export function folderWith(parent: string, name: string, files: Readonly<Record<string, unknown>>): string {
  const folder = join(parent, name);
  mkdirSync(folder, { recursive: true });
  for (const [file, content] of Object.entries(files)) {
    writeFileSync(join(folder, file), typeof content === 'string' ? content : JSON.stringify(content));
  }
  return folder;
}

/** A line of a spec: the stage whose output is `<name>.json`, which lies in the folder of the run. */
export function resultsStage({ folder }: { folder: string }, name: string): string {
  return `  ${name}: { kind: command, with: { argv: [cp, "${folder}/${name}.json", "{out}/results.json"], outputs: { out: out }, types: { out: results } } }`;
}
