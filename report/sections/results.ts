import { dotPlot } from '../charts/dot-plot.ts';
import {
  effortsOf,
  modelNamed,
  suiteAt,
  type Comparison,
  type EffortResult,
  type Evidence,
  type Model,
  type Retention,
} from '../evidence.ts';
import { fixed, percent, percentRange, percentWithError, significant, unknown } from '../figures.ts';
import { left, right, type Cell, type Section, type Table } from '../section.ts';
import { accuracyOf, difference, effortLengthRatio } from '../statistics.ts';

export function accuracySection(evidence: Evidence): Section | undefined {
  const { models } = evidence;
  if (models.length === 0) return undefined;
  const efforts = effortsOf(models);
  const rows = models.map((model) => ({
    label: model.label,
    isReference: model.name === evidence.baseline,
    points: efforts.map((effort) => {
      const result = suiteAt(model, effort);
      return result === undefined ? null : { value: result.accuracy, error: result.standardError };
    }),
  }));
  const figure = dotPlot({
    description: 'Accuracy of every model at every effort',
    axis: 'mean accuracy over tasks; whiskers are one standard error',
    series: efforts,
    rows,
    format: (value) => `${Math.round(value * 100)} %`,
  });
  return {
    id: 'accuracy',
    title: 'Accuracy by model and effort',
    lead: 'The mean over tasks. Dashed lines carry the baseline down, so that a mark to their left is a loss.',
    figures: [{ svg: figure, caption: 'Accuracy, with one standard error either side.' }],
    tables: [
      accuracyTable(evidence, efforts),
      ...retentionTables(evidence, efforts),
      taskTable(models, efforts),
      intervalTable(models, efforts),
    ],
    notes: [
      ...(evidence.retentions.some(({ interval }) => interval !== null)
        ? [
            'Retention’s errors and intervals are a paired bootstrap: the questions are drawn again 2 000 times, for both models alike.',
          ]
        : []),
      ...evidence.unlike.map((difference) => `Compared although unlike: ${difference}.`),
    ],
  };
}

function accuracyTable({ models }: Evidence, efforts: string[]): Table {
  return {
    caption: 'Mean accuracy, per cent ± one standard error',
    columns: [left('model'), ...efforts.map(right), right('mean')],
    rows: models.map((model) => [
      model.label,
      ...efforts.map((effort) => accuracyCell(suiteAt(model, effort))),
      { text: percent(meanAccuracy(model)), tone: 'strong' as const },
    ]),
  };
}

function intervalTable(models: readonly Model[], efforts: string[]): Table {
  return {
    caption: 'Accuracy: its 95 % interval, per cent',
    columns: [left('model'), ...efforts.map(right)],
    rows: models.map((model) => [
      model.label,
      ...efforts.map((effort) => {
        const result = suiteAt(model, effort);
        return result === undefined ? unknown : percentRange(result.interval);
      }),
    ]),
    isDetail: true,
  };
}

function accuracyCell(result: EffortResult | undefined): Cell {
  return result === undefined ? unknown : percentWithError(result.accuracy, result.standardError);
}

/** One against each baseline that was run, and one for tasks. */
function retentionTables(evidence: Evidence, efforts: string[]): Table[] {
  const baselines = [...new Set(evidence.retentions.map(({ baseline }) => baseline))];
  return baselines.flatMap((name) => {
    const label = modelNamed(evidence, name)?.label ?? name;
    const others = evidence.models.filter((model) => model.name !== name);
    const tasks = [...new Set(others.flatMap((model) => model.tasks.map(({ task }) => task)))].sort();
    const at = (model: Model, effort: string | null, task: string | null): Retention | undefined =>
      evidence.retentions.find(
        (one) =>
          one.baseline === name && one.model === model.name && one.effort === effort && one.task === task,
      );
    return [
      {
        caption: `Retention: accuracy over that of “${label}”, per cent ± one standard error`,
        columns: [left('model'), ...efforts.map(right), right('mean'), right('95 % of the mean')],
        rows: others.map((model) => {
          const mean = at(model, null, null);
          return [
            model.label,
            ...efforts.map((effort) => retentionCell(at(model, effort, null))),
            { text: percent(mean?.value), tone: 'strong' as const },
            mean?.interval == null ? unknown : percentRange(mean.interval),
          ];
        }),
      },
      {
        caption: `Retention by task, of “${label}”, per cent ± one standard error`,
        columns: [left('model'), left('task'), ...efforts.map(right), right('mean')],
        rows: others.flatMap((model) =>
          tasks.map((task, index) => [
            index === 0 ? model.label : '',
            task,
            ...[...efforts, null].map((effort) => retentionCell(at(model, effort, task))),
          ]),
        ),
        isDetail: true,
      },
    ];
  });
}

function retentionCell(kept: Retention | undefined): Cell {
  return kept === undefined ? unknown : percentWithError(kept.value, kept.standardError);
}

export function meanAccuracy(model: Model): number | undefined {
  if (model.suite.length === 0) return undefined;
  return model.suite.reduce((sum, result) => sum + result.accuracy, 0) / model.suite.length;
}

function taskTable(models: readonly Model[], efforts: string[]): Table {
  const tasks = [...new Set(models.flatMap((model) => model.tasks.map((result) => result.task)))].sort();
  return {
    caption: 'Accuracy by task, per cent ± one standard error',
    columns: [left('model'), left('task'), ...efforts.map(right)],
    rows: models.flatMap((model) =>
      tasks.map((task, index) => [
        index === 0 ? model.label : '',
        task,
        ...efforts.map((effort) =>
          accuracyCell(model.tasks.find((result) => result.task === task && result.effort === effort)),
        ),
      ]),
    ),
    isDetail: true,
  };
}

export function lengthSection(evidence: Evidence): Section | undefined {
  const { models } = evidence;
  if (models.length === 0) return undefined;
  const efforts = effortsOf(models);
  const rows = models.map((model) => ({
    label: model.label,
    isReference: model.name === evidence.baseline,
    points: efforts.map((effort) => {
      const result = suiteAt(model, effort);
      return result === undefined || result.meanTokens <= 0
        ? null
        : { value: result.meanTokens, error: null };
    }),
  }));
  if (rows.every((row) => row.points.every((point) => point === null))) return undefined;
  const figure = dotPlot({
    description: 'Mean tokens of an answer of every model at every effort',
    axis: 'mean tokens of an answer (log scale)',
    series: efforts,
    rows,
    format: (value) => significant(value, 3),
    isLog: true,
  });
  return {
    id: 'lengths',
    title: 'Length of answers',
    lead: 'Faster tokens are worth nothing if there are more of them. The effort length ratio is mean tokens at high effort over those at low: how far the effort setting still steers.',
    figures: [{ svg: figure, caption: 'Mean tokens of an answer.' }],
    tables: lengthTables(models, efforts),
    notes: [
      'An answer that hits the cap is cut, not wrong by itself; one without a final channel counts as wrong.',
    ],
  };
}

function lengthTables(models: readonly Model[], efforts: string[]): Table[] {
  const shares = (model: Model, read: (result: EffortResult) => number): Cell[] =>
    efforts.map((effort) => {
      const result = suiteAt(model, effort);
      return percent(result === undefined ? undefined : read(result));
    });
  return [
    {
      caption: 'Mean tokens of an answer, and the effort length ratio',
      columns: [left('model'), ...efforts.map(right), right('high ÷ low')],
      rows: models.map((model) => [
        model.label,
        ...efforts.map((effort) => fixed(suiteAt(model, effort)?.meanTokens, 1)),
        { text: fixed(effortLengthRatio(model), 2), tone: 'strong' as const },
      ]),
    },
    {
      caption: 'Tokens of an answer at 10, 50, 90 and 99 % of all',
      columns: [left('model'), ...efforts.map(right)],
      rows: models.map((model) => [
        model.label,
        ...efforts.map((effort) => {
          const found = suiteAt(model, effort)?.tokenQuantiles;
          return found === undefined
            ? unknown
            : [found.p10, found.p50, found.p90, found.p99].map((value) => fixed(value, 0)).join(' · ');
        }),
      ]),
    },
    {
      caption:
        'Answers cut at the cap, answers with a final channel, and answers that never came or could not be scored',
      columns: [
        left('model'),
        ...efforts.map((effort) => right(`cut, ${effort}`)),
        ...efforts.map((effort) => right(`final, ${effort}`)),
        right('errors'),
      ],
      rows: models.map((model) => [
        model.label,
        ...shares(model, (result) => result.capHitRate),
        ...shares(model, (result) => result.finalRate),
        String(model.suite.reduce((sum, { errors }) => sum + errors, 0)),
      ]),
    },
  ];
}

export function comparisonSection(evidence: Evidence): Section | undefined {
  const efforts = effortsOf(evidence.models);
  const shown = evidence.comparisons.flatMap((comparison) => {
    const one = modelNamed(evidence, comparison.left);
    const other = modelNamed(evidence, comparison.right);
    return one === undefined || other === undefined ? [] : [{ comparison, one, other, efforts }];
  });
  const tables = shown.map(comparisonTable);
  if (tables.length === 0) return undefined;
  return {
    id: 'comparisons',
    title: 'Side by side',
    lead: 'Differences in percentage points. The last column says how many standard errors a difference is from nothing: under two is noise.',
    figures: [],
    tables,
    notes: shown.every(({ comparison }) => Object.keys(comparison.paired).length > 0)
      ? [
          'Differences are a paired bootstrap: questions are drawn again, and both models are taken at the same ones.',
        ]
      : [
          'Where answers were not kept, errors are taken as independent; both models answered the same questions, so the true noise of a difference is smaller.',
        ],
  };
}

interface Shown {
  comparison: Comparison;
  one: Model;
  other: Model;
  efforts: string[];
}

function comparisonTable({ comparison, one, other, efforts }: Shown): Table {
  return {
    caption: comparison.title,
    columns: [
      left('effort'),
      right(one.label),
      right(other.label),
      right('difference'),
      right('95 %'),
      right('standard errors'),
    ],
    rows: efforts.flatMap((effort) => {
      const a = suiteAt(one, effort);
      const b = suiteAt(other, effort);
      if (a === undefined || b === undefined) return [];
      const paired = comparison.paired[effort];
      const gap = paired ?? difference(accuracyOf(a), accuracyOf(b));
      const error = gap.standardError ?? 0;
      return [
        [
          effort,
          accuracyCell(a),
          accuracyCell(b),
          signedPoints(gap.value, error),
          paired === undefined ? unknown : percentRange(paired.interval),
          error === 0 ? unknown : fixed(gap.value / error, 1),
        ],
      ];
    }),
  };
}

function signedPoints(gap: number, error: number): Cell {
  const text = `${gap >= 0 ? '+' : '−'}${(Math.abs(gap) * 100).toFixed(1)} ± ${(error * 100).toFixed(1)}`;
  if (Math.abs(gap) < 2 * error) return { text, tone: 'faint' };
  return { text, tone: gap > 0 ? 'good' : 'bad' };
}
