import { frontierPlot } from '../charts/frontier-plot.ts';
import { effortsOf, modelNamed, suiteAt, type Evidence, type Model } from '../evidence.ts';
import { fixed, percentWithError, significant, unknown } from '../figures.ts';
import { left, right, type Section, type Table } from '../section.ts';
import { frontier, requestsPerSecond, type FrontierPoint } from '../statistics.ts';

/** Request-level efficiency: tokens a second over tokens an answer, beside the accuracy that it buys. */
export function efficiencySection(evidence: Evidence): Section | undefined {
  const points = frontier(evidence.models);
  if (points.length === 0) return undefined;
  const efforts = effortsOf(evidence.models);
  const baseline = modelNamed(evidence, evidence.baseline);
  const figure = frontierPlot(points, efforts, {
    description: 'Accuracy over requests a second for every model and effort',
    strong: [evidence.baseline, evidence.models.at(-1)?.name ?? ''],
  });
  return {
    id: 'efficiency',
    title: 'Request-level efficiency',
    lead: 'Requests a second are tokens a second over mean tokens of an answer: what a user waits for. Points up and to the right are better; hollow ones are beaten by another point in both.',
    figures: [
      {
        svg: figure,
        caption:
          'Accuracy and speed. The broken line joins the points that none beats; thin lines join the efforts of one model, the baseline and the last model in bold.',
      },
    ],
    tables: [frontierTable(points), efficiencyTable(points, efforts, baseline), timingTable(evidence.models)],
    notes: notesOf(evidence.models),
  };
}

/** The picture's points, fastest first. */
function frontierTable(points: readonly FrontierPoint[]): Table {
  const sorted = [...points].sort((a, b) => b.speed - a.speed);
  return {
    caption: 'The accuracy-speed frontier: every point of the picture, fastest first',
    columns: [
      ...[left('model'), left('effort'), right('requests/s'), right('tokens/s'), right('tokens an answer')],
      ...[right('accuracy'), left('frontier')],
    ],
    rows: sorted.map(({ model, effort, speed, accuracy, dominatedBy }) => {
      const result = suiteAt(model, effort);
      return [
        model.label,
        effort,
        significant(speed, 4),
        fixed(model.timing?.tokensPerSecond, 0),
        fixed(result?.meanTokens, 1),
        percentWithError(accuracy, result?.standardError),
        dominatedBy === undefined
          ? { text: '● on it', tone: 'strong' as const }
          : { text: `○ beaten by ${dominatedBy.model.label}, ${dominatedBy.effort}`, tone: 'faint' as const },
      ];
    }),
  };
}

function efficiencyTable(
  points: readonly FrontierPoint[],
  efforts: readonly string[],
  baseline: Model | undefined,
): Table {
  const models = [...new Set(points.map((point) => point.model))];
  return {
    caption: 'Requests a second, and over the baseline’s at the same effort',
    columns: [
      left('model'),
      ...efforts.map((effort) => right(effort)),
      ...(baseline === undefined ? [] : efforts.map((effort) => right(`÷ baseline, ${effort}`))),
      right('on the frontier'),
    ],
    rows: models.map((model) => {
      const own = points.filter((point) => point.model === model);
      const unbeaten = own.filter((point) => !point.isDominated).map((point) => point.effort);
      return [
        model.label,
        ...efforts.map((effort) => significant(own.find((point) => point.effort === effort)?.speed, 3)),
        ...(baseline === undefined ? [] : efforts.map((effort) => overBaseline(model, baseline, effort))),
        unbeaten.length === 0 ? unknown : efforts.filter((effort) => unbeaten.includes(effort)).join(', '),
      ];
    }),
  };
}

function overBaseline(model: Model, baseline: Model, effort: string): string {
  const own = suiteAt(model, effort);
  const reference = suiteAt(baseline, effort);
  if (own === undefined || reference === undefined) return unknown;
  const speed = requestsPerSecond(model, own);
  const base = requestsPerSecond(baseline, reference);
  return speed === undefined || base === undefined || base === 0 ? unknown : `${fixed(speed / base, 2)} ×`;
}

function timingTable(models: readonly Model[]): Table {
  return {
    caption: 'Tokens a second, and where they were measured',
    columns: [
      left('model'),
      right('tokens/s'),
      right('± s.e.'),
      left('measured on'),
      left('runner'),
      right('threads'),
      right('batch'),
    ],
    rows: models.flatMap(({ label, timing }) =>
      timing === undefined
        ? []
        : [
            [
              label,
              fixed(timing.tokensPerSecond, 0),
              fixed(timing.standardError, 0),
              timing.measuredOn,
              timing.runner,
              String(timing.threads ?? unknown),
              String(timing.batchSize ?? unknown),
            ],
          ],
    ),
    isDetail: true,
  };
}

function notesOf(models: readonly Model[]): string[] {
  const borrowed = models.filter(({ name, timing }) => timing !== undefined && timing.measuredOn !== name);
  if (borrowed.length === 0) return [];
  const names = borrowed.map(({ label, timing }) => `${label} (time of ${timing?.measuredOn ?? unknown})`);
  return [
    `Speed is measured once an architecture, and counts for every model that has it: ${names.join(', ')}. An FP8 cache in ONNX is simulated by quantising and dequantising, and gets no credit.`,
  ];
}

/** For the head of the report: the most that requests gain at one effort. */
export function bestGain(evidence: Evidence, name: string): { effort: string; ratio: number } | undefined {
  const model = modelNamed(evidence, name);
  const baseline = modelNamed(evidence, evidence.baseline);
  if (model === undefined || baseline === undefined || model === baseline) return undefined;
  let best: { effort: string; ratio: number } | undefined;
  for (const effort of effortsOf([model])) {
    const own = suiteAt(model, effort);
    const reference = suiteAt(baseline, effort);
    if (own === undefined || reference === undefined) continue;
    const speed = requestsPerSecond(model, own);
    const base = requestsPerSecond(baseline, reference);
    if (speed === undefined || base === undefined || base === 0) continue;
    if (best === undefined || speed / base > best.ratio) best = { effort, ratio: speed / base };
  }
  return best;
}
