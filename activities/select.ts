import { canonicalJson } from '../core/canonical-json.ts';
import { parseModelConfig } from '../costs/config.ts';
import { parseBlockScores } from '../selection/block-scores.ts';
import { makeProof } from '../selection/proof.ts';
import { layersOf, select } from '../selection/select.ts';
import { parseSelectSettings } from '../selection/settings.ts';
import { openSolver } from '../selection/solver.ts';
import { inputFolder, outputFolder, readDocument, writeOutput } from './inline-files.ts';
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
  const selection = select(solver, { scores, model, settings });
  job.progress(1, 2, 'steps');
  const architecture = { schema: 'fretsaw/architecture/v1', layers: layersOf(selection) };
  const proof = makeProof(solver, { selection, model, settings });
  await writeOutput(outputFolder(job, 'architecture'), 'architecture.json', canonicalJson(architecture));
  await writeOutput(outputFolder(job, 'proof'), 'proof.json', `${JSON.stringify(proof, null, 1)}\n`);
  job.progress(2, 2, 'steps');
}
