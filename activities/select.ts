import { canonicalJson } from '../core/canonical-json.ts';
import { parseModelConfig, type LayerShape } from '../costs/config.ts';
import { expectSchema, field, integerFrom, list, orNull, type Place } from '../costs/json-reader.ts';
import { parseBlockScores } from '../selection/block-scores.ts';
import { makeProof } from '../selection/proof.ts';
import type { Reference } from '../selection/references.ts';
import { layersOf, select } from '../selection/select.ts';
import { parseSelectSettings } from '../selection/settings.ts';
import { openSolver } from '../selection/solver.ts';
import { summarise } from '../selection/summary.ts';
import { inputFolder, inputMap, outputFolder, readDocument, writeOutput } from './inline-files.ts';
import type { InlineJob } from './inline-job.ts';

/**
 * The architecture is canonical, choices only: scores that differ and choose alike repeat nothing
 * downstream. The proof beside it changes with every figure of the question.
 */
export async function runSelect(job: InlineJob): Promise<void> {
  const settings = parseSelectSettings({ value: job.settings, path: `${job.stage}.with` });
  const scores = parseBlockScores(await readDocument(inputFolder(job, 'scores'), 'scores.json'));
  const model = parseModelConfig(await readDocument(inputFolder(job, 'model'), 'config.json'));
  const solver = await openSolver(() => performance.now());
  const differFrom = await readArchitectures(job, 'differ_from');
  const references = await readArchitectures(job, 'references');
  const selection = select(solver, { scores, model, settings, differFrom });
  job.progress(1, 2, 'steps');
  const architecture = { schema: 'fretsaw/architecture/v1', layers: layersOf(selection) };
  const proof = makeProof(solver, { selection, model, settings, references });
  await writeOutput(outputFolder(job, 'architecture'), 'architecture.json', canonicalJson(architecture));
  await writeOutput(outputFolder(job, 'proof'), 'proof.json', `${JSON.stringify(proof, null, 1)}\n`);
  await writeOutput(
    outputFolder(job, 'proof'),
    'summary.md',
    summarise({ value: proof, path: 'proof.json' }),
  );
  job.progress(2, 2, 'steps');
}

async function readArchitectures(job: InlineJob, input: string): Promise<Reference[]> {
  const folders = Object.entries(inputMap(job, input));
  return Promise.all(
    folders.map(async ([name, folder]) => ({
      name,
      layers: parseArchitecture(await readDocument(folder, 'architecture.json')),
    })),
  );
}

function parseArchitecture(place: Place): LayerShape[] {
  expectSchema(place, 'fretsaw/architecture/v1');
  const count = integerFrom(1);
  return list((layer) => ({
    experts: count(field(layer, 'experts')),
    window: orNull(count)(field(layer, 'window')),
  }))(field(place, 'layers'));
}
