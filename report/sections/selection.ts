import { lineChart } from '../charts/line-chart.ts';
import type { Evidence, Proof } from '../evidence.ts';
import { fixed, percent, significant, unknown } from '../figures.ts';
import { left, right, type Figure, type Section, type Table } from '../section.ts';
import { alternativeTable, referenceTables } from './selection-others.ts';

export function selectionSection({ proof }: Evidence): Section | undefined {
  if (proof === undefined) return undefined;
  return {
    id: 'selection',
    title: 'How the architecture was chosen',
    lead: leadOf(proof),
    figures: paretoFigure(proof),
    tables: [
      proofTable(proof),
      constraintTable(proof),
      ...gridTable(proof),
      ...paretoTable(proof),
      ...alternativeTable(proof),
      ...scenarioTable(proof),
      ...referenceTables(proof),
    ],
    notes: [
      'Scores are the measured errors of replacing one layer, added up; lower is better (Puzzle, arXiv 2411.19146; with experts and windows, arXiv 2602.11937).',
      'The bound that needs no solver is the Lagrangian one: for multipliers at least 0, the least score plus priced costs of every layer, less the priced limits, is above no selection’s score (Geoffrion, 1974). The multipliers are in the proof, and `fretsaw certify` works it out again.',
      'A shadow price is score for a unit more of the limit; the columns beside it solve again with the limit 1 % tighter and looser.',
    ],
  };
}

function leadOf(proof: Proof): string {
  const proven =
    proof.optimality === 'proven'
      ? ' The certificate was checked without the solver: no choice is better.'
      : '';
  if (proof.status === 'optimal')
    return `A mixed-integer program over all layers, solved to the optimum: ${significant(proof.value)}.${proven}`;
  return `A mixed-integer program over all layers, stopped by its time limit at ${significant(proof.value)}; nothing is better than ${significant(proof.bound)}.`;
}

function proofTable(proof: Proof): Table {
  const over = (value: number): string =>
    proof.value === 0 ? unknown : `${fixed(value / proof.value, 3)} ×`;
  return {
    caption: 'The selection beside simpler ways and its bounds',
    columns: [left(''), right('score'), right('÷ selection')],
    rows: [
      [
        { text: 'this selection', tone: 'strong' },
        { text: significant(proof.value, 6), tone: 'strong' },
        over(proof.value),
      ],
      [
        'solver’s bound',
        significant(proof.bound, 6),
        proof.bound === undefined ? unknown : over(proof.bound),
      ],
      [
        'bound that needs no solver',
        significant(proof.lpBound, 6),
        proof.lpBound === undefined ? unknown : over(proof.lpBound),
      ],
      ...proof.baselines.map(({ name, value }) => [name, significant(value, 6), over(value)]),
    ],
  };
}

function constraintTable(proof: Proof): Table {
  return {
    caption: 'Constraints: how much of each is used, and what a unit more is worth',
    columns: [
      left('constraint'),
      left(''),
      right('limit'),
      right('used'),
      right('left'),
      left('unit'),
      right('shadow price'),
      right('score, 1 % tighter'),
      right('1 % looser'),
    ],
    rows: proof.constraints.map((row) => [
      row.name,
      row.sense.replace('_', ' '),
      significant(row.limit),
      significant(row.used),
      significant(row.slack),
      row.unit,
      significant(row.shadowPrice),
      significant(row.tighter, 6),
      significant(row.looser, 6),
    ]),
  };
}

function gridTable(proof: Proof): Table[] {
  if (proof.grid.length === 0) return [];
  return [
    {
      caption: 'What a coarser grid of expert counts would cost',
      columns: [right('every count divides by'), right('best score')],
      rows: proof.grid.map(({ multiple, value }) => [String(multiple), significant(value, 6)]),
      isDetail: true,
    },
  ];
}

function paretoFigure({ pareto }: Proof): Figure[] {
  if (pareto === undefined || pareto.points.length < 2) return [];
  const isShare = pareto.unit.startsWith('of ');
  const scaled = pareto.points.map(
    (point) => [isShare ? point.used * 100 : point.used, point.value] as const,
  );
  const svg = lineChart({
    description: 'Best score for every limit of experts kept',
    title: 'best score at each budget',
    xAxis: isShare ? `${pareto.constraint}, per cent ${pareto.unit}` : `${pareto.constraint}, ${pareto.unit}`,
    lines: [{ name: 'score', points: scaled }],
    format: (value) => significant(value, 2),
    hasMarks: true,
    size: { width: 920, height: 250 },
  });
  return [{ svg, caption: 'The price of a smaller budget: each mark is an optimum.' }];
}

function paretoTable({ pareto }: Proof): Table[] {
  if (pareto === undefined) return [];
  return [
    {
      caption: `Best score for each limit of ${pareto.constraint}`,
      columns: [right('limit'), right('used'), right('best score')],
      rows: pareto.points.map((point) => [
        significant(point.limit),
        significant(point.used),
        significant(point.value, 6),
      ]),
      isDetail: true,
    },
  ];
}

function scenarioTable(proof: Proof): Table[] {
  if (proof.scenarios.length === 0) return [];
  return [
    {
      caption: 'Predicted gain in each serving scenario (roofline, not measured)',
      columns: [
        left('scenario'),
        left('hardware'),
        right('GPUs'),
        right('tokens/s, child ÷ parent'),
        right('band'),
        right('worst seen'),
      ],
      rows: proof.scenarios.map((scenario) => [
        scenario.name,
        scenario.hardware,
        String(scenario.gpus),
        `${fixed(scenario.ratio, 2)} ×`,
        `± ${percent(scenario.mean, 0)}`,
        `± ${percent(scenario.worst, 0)}`,
      ]),
    },
  ];
}
