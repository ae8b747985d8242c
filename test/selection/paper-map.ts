/**
 * `npx tsx test/selection/paper-map.ts`: writes specs/studies/paper-map, the data of the study that replays the paper.
 * Scores are made up (large-instance.ts, seed 7): no scores of gpt-oss-120b are public. The layer map is the
 * published one's.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LayerScores } from '../../selection/block-scores.ts';
import { child } from '../costs/published.ts';
import { largeScores } from './large-instance.ts';

const seed = 7;

export function scoresDocument(layers: readonly LayerScores[] = largeScores(seed)): object {
  const line = ({ score, standardError }: { score: number; standardError: number }): object => ({
    score: Number(score.toPrecision(7)),
    standard_error: Number(standardError.toPrecision(7)),
  });
  return {
    schema: 'fretsaw/block-scores/v1',
    metric: 'activation-mse',
    tokens: 0,
    parent_long_context_accuracy: null,
    layers: layers.map(({ layer, experts, window, expertChoices, windowChoices }) => ({
      layer,
      attention: window === null ? 'full' : 'sliding',
      window,
      experts,
      expert_choices: expertChoices.map((choice) => ({ experts: choice.experts, ...line(choice) })),
      window_choices: windowChoices.map((choice) => ({ window: choice.window, ...line(choice) })),
    })),
  };
}

export function releasedArchitecture(): object {
  return { schema: 'fretsaw/architecture/v1', layers: child.layers.map((layer) => ({ ...layer })) };
}

export const studyFolder = new URL('../../specs/studies/paper-map', import.meta.url).pathname;

if (process.argv[1] === new URL(import.meta.url).pathname) {
  for (const [path, document] of [
    ['scores/scores.json', scoresDocument()],
    ['released/architecture.json', releasedArchitecture()],
  ] as const) {
    mkdirSync(join(studyFolder, path, '..'), { recursive: true });
    writeFileSync(join(studyFolder, path), `${JSON.stringify(document, null, 1)}\n`);
  }
}
