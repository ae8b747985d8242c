import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../core/errors.ts';
import {
  field,
  list,
  mapOf,
  oneOf,
  onlyKeys,
  optional,
  text,
  withDefault,
  type Place,
} from '../costs/json-reader.ts';
import type { Answer, Comparison, Curve, Evidence, Layer, Model } from '../report/evidence.ts';
import { toHtml } from '../report/html.ts';
import { toMarkdown } from '../report/markdown.ts';
import { sectionsOf } from '../report/sections.ts';
import { requireAlike } from '../report/comparable.ts';
import { pairedDifferences, retentionsOf } from '../report/retention.ts';
import { toTerminal } from '../report/terminal.ts';
import { inputMap, outputFolder, readDocument, writeOutput } from './inline-files.ts';
import type { InlineJob } from './inline-job.ts';
import { readAllAnswers } from './report-answers.ts';
import {
  parseArchitecture,
  parseCurve,
  parseKept,
  parseLayerCurves,
  parseProof,
  parseRanking,
  parseVerdict,
} from './report-documents.ts';
import { readModels } from './report-models.ts';

/** report.html with pictures, report.md, report.txt for terminals, and report.json with every figure. */
export async function runReport(job: InlineJob): Promise<void> {
  const evidence = await readEvidence(job);
  const sections = sectionsOf(evidence);
  const out = outputFolder(job, 'report');
  await writeOutput(out, 'report.html', toHtml(evidence, sections));
  await writeOutput(out, 'report.md', toMarkdown(evidence, sections));
  await writeOutput(out, 'report.txt', toTerminal(evidence));
  await writeOutput(
    out,
    'report.json',
    `${JSON.stringify({ schema: 'fretsaw/report/v1', ...evidence }, null, 1)}\n`,
  );
}

async function readEvidence(job: InlineJob): Promise<Evidence> {
  const settings: Place = { value: job.settings, path: `${job.stage}.with` };
  onlyKeys(settings, ['title', 'baseline', 'order', 'labels', 'timing_of', 'comparisons', 'unlike']);
  const order = withDefault(field(settings, 'order'), list(text), []);
  const models = await readModels({
    results: inputMap(job, 'results'),
    timings: inputMap(job, 'timings'),
    order,
    labels: withDefault(field(settings, 'labels'), mapOf(text), {}),
    timingOf: withDefault(field(settings, 'timing_of'), mapOf(text), {}),
  });
  const baseline = optional(field(settings, 'baseline'), text) ?? models[0]?.name ?? '';
  const baselines = baselinesOf(models, baseline);
  const unlike = withDefault(field(settings, 'unlike'), oneOf(['refuse', 'allow']), 'refuse');
  const pairs = baselines.slice(0, 1).flatMap((one) => models.map((other) => [other, one] as const));
  const answers = await readAllAnswers(inputMap(job, 'results'));
  const proof = await readOne(job, 'proof', async (folder) =>
    parseProof(await readDocument(folder, 'proof.json')),
  );
  const scores = await readOne(job, 'scores', async (folder) => readDocument(folder, 'scores.json'));
  return {
    title: withDefault(field(settings, 'title'), text, 'Report'),
    baseline,
    models,
    retentions: retentionsOf(models, baselines, answers),
    unlike: requireAlike(pairs, unlike === 'allow'),
    layers: await readLayers(job, { parentLayers: proof?.parentLayers ?? [], scores }),
    ranking: await readOne(job, 'ranking', async (folder) =>
      parseRanking(await readDocument(folder, 'ranking.json')),
    ),
    kept: await readMap(job, 'kept', async (folder) => parseKept(await readDocument(folder, 'kept.json'))),
    scores: scores === undefined ? undefined : parseLayerCurves(scores),
    curves: await readMap(job, 'curves', readCurve),
    proof,
    verdict: await readOne(job, 'verdict', async (folder) =>
      parseVerdict(await readDocument(folder, 'verdict.json')),
    ),
    comparisons: readComparisons(field(settings, 'comparisons'), answers),
    provenance: { inputs: flatDigests(job), settings: job.settings },
  };
}

/** Retention hangs on which parent is meant, so every one that was run counts: its cache in full precision and in FP8. */
function baselinesOf(models: readonly Model[], baseline: string): Model[] {
  const named = models.filter(({ name }) => name === baseline);
  return [...named, ...models.filter(({ name }) => name.startsWith(`${baseline}_`))];
}

/** The child's layers beside the parent's, which the proof or the scores name. */
async function readLayers(
  job: InlineJob,
  from: { parentLayers: { experts: number; window: number | null }[]; scores: Place | undefined },
): Promise<Layer[] | undefined> {
  const child = await readOne(job, 'architecture', async (folder) =>
    parseArchitecture(await readDocument(folder, 'architecture.json')),
  );
  if (child === undefined) return undefined;
  const parent =
    from.parentLayers.length > 0
      ? from.parentLayers
      : from.scores === undefined
        ? []
        : parseArchitecture({ ...from.scores, value: asArchitecture(from.scores) });
  if (parent.length !== child.length) return undefined;
  return child.map((layer, index) => ({
    ...layer,
    parentExperts: parent[index]?.experts ?? layer.experts,
    parentWindow: parent[index]?.window ?? null,
  }));
}

/** The scores name each layer's own experts and window, as an architecture does. */
function asArchitecture(scores: Place): Place['value'] {
  const layers = field(scores, 'layers').value;
  return { schema: 'fretsaw/architecture/v1', layers: layers ?? [] };
}

async function readCurve(folder: string): Promise<Curve> {
  try {
    return parseCurve(await readFile(join(folder, 'curves.jsonl'), 'utf8'), 'curves.jsonl');
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure('BAD_INPUT', `expected curves.jsonl in ${folder}`, { cause: error });
  }
}

type Pair = Omit<Comparison, 'paired'>;

function readComparisons(place: Place, answers: ReadonlyMap<string, readonly Answer[]>): Comparison[] {
  return withDefault(place, list(readPair), []).map((pair) => {
    const [left, right] = [answers.get(pair.left), answers.get(pair.right)];
    return {
      ...pair,
      paired: left === undefined || right === undefined ? {} : pairedDifferences(left, right),
    };
  });
}

function readPair(place: Place): Pair {
  onlyKeys(place, ['title', 'left', 'right']);
  return {
    title: text(field(place, 'title')),
    left: text(field(place, 'left')),
    right: text(field(place, 'right')),
  };
}

async function readOne<T>(
  job: InlineJob,
  name: string,
  read: (folder: string) => Promise<T>,
): Promise<T | undefined> {
  const folder = job.inputs[name];
  return typeof folder === 'string' ? read(folder) : undefined;
}

async function readMap<T>(
  job: InlineJob,
  name: string,
  read: (folder: string) => Promise<T>,
): Promise<Record<string, T>> {
  const found: Record<string, T> = {};
  for (const [key, folder] of Object.entries(inputMap(job, name))) found[key] = await read(folder);
  return found;
}

function flatDigests(job: InlineJob): Record<string, string> {
  const flat: Record<string, string> = {};
  for (const [name, digests] of Object.entries(job.inputDigests)) {
    if (typeof digests === 'string') flat[name] = digests;
    else for (const [key, digest] of Object.entries(digests)) flat[`${name}/${key}`] = digest;
  }
  return flat;
}
