import { readDocument } from './inline-files.ts';
import { parseResults, parseTimings } from './report-documents.ts';
import type { Model } from '../report/evidence.ts';

export interface ModelSources {
  /** Folders by model name. */
  results: Readonly<Record<string, string>>;
  timings: Readonly<Record<string, string>>;
  order: readonly string[];
  labels: Readonly<Record<string, string>>;
  /** Whose timing counts for a model: a simulated FP8 cache gets that of the float cache. */
  timingOf: Readonly<Record<string, string>>;
}

/** The models of an evaluation, those in `order` first. */
export async function readModels(sources: ModelSources): Promise<Model[]> {
  const rank = (name: string): number => {
    const index = sources.order.indexOf(name);
    return index < 0 ? sources.order.length : index;
  };
  const names = Object.keys(sources.results).sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  const models: Model[] = [];
  for (const name of names) {
    const results = parseResults(await readDocument(sources.results[name] ?? '', 'results.json'));
    const measuredOn = sources.timingOf[name] ?? name;
    const folder = sources.timings[measuredOn];
    const timing =
      folder === undefined ? undefined : parseTimings(await readDocument(folder, 'timings.json'), measuredOn);
    models.push({ name, label: sources.labels[name] ?? labelOf(name), timing, ...results });
  }
  return models;
}

function labelOf(name: string): string {
  return name.replaceAll('_', ' ').replaceAll('-', ' ');
}
