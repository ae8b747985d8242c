import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../../costs/config.ts';
import { parseJson } from '../../costs/json-reader.ts';
import { parseBlockScores } from '../../selection/block-scores.ts';
import { gainsOf } from '../../selection/references.ts';
import { parseSelectSettings } from '../../selection/settings.ts';
import { compileTexts } from '../support/compile-file.ts';
import { published } from '../costs/published.ts';
import { releasedArchitecture, scoresDocument, studyFolder } from './paper-map.ts';

const read = (path: string): string => readFileSync(join(studyFolder, path), 'utf8');

describe('the study that replays the paper', () => {
  it('has the data that its script writes', () => {
    expect(JSON.parse(read('scores/scores.json'))).toEqual(scoresDocument());
    expect(JSON.parse(read('released/architecture.json'))).toEqual(releasedArchitecture());
    const place = parseJson(read('scores/scores.json'), 'scores.json');
    expect(parseBlockScores(place)).toHaveLength(36);
  });

  it('predicts the published gain of the released map in each scenario, within the band it states', () => {
    const compiled = compileTexts({ 'paper-map.yaml': readFileSync(`${studyFolder}.yaml`, 'utf8') });
    if (!compiled.ok) throw new Error(JSON.stringify(compiled.error));
    const stage = compiled.value.stages.find(({ name }) => name === 'select');
    const settings = parseSelectSettings({ value: stage?.with ?? null, path: 'with' });
    const model = parseModelConfig(parseJson(read('parent/config.json'), 'config.json'));
    const { layers } = releasedArchitecture() as { layers: { experts: number; window: number | null }[] };
    const gains = gainsOf(layers, { model, settings }) as {
      name: string;
      ratio: number;
      band: { worst: number };
    }[];
    expect(gains.map(({ name }) => name)).toEqual(published.map(({ name }) => name));
    for (const [index, { ratio, band }] of gains.entries()) {
      expect(Math.abs(ratio / (published[index]?.ratio ?? NaN) - 1)).toBeLessThan(band.worst);
    }
  });
});
