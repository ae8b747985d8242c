import { lineChart } from '../charts/line-chart.ts';
import type { Curve, Evidence } from '../evidence.ts';
import { significant } from '../figures.ts';
import { left, right, type Figure, type Section } from '../section.ts';

/** Figures worth a picture, by the names that training stages write; the rest is in the curves themselves. */
const shown = [
  'loss',
  'kl_loss',
  'validation_loss',
  'reward',
  'correct',
  'length',
  'mean_length',
  'entropy',
  'kl',
];

export function trainingSection({ curves }: Evidence): Section | undefined {
  const stages = Object.entries(curves).filter(([, curve]) => curve.steps.length > 1);
  if (stages.length === 0) return undefined;
  return {
    id: 'training',
    title: 'Training curves',
    lead: 'Loss of distillation, and reward and length in reinforcement learning. The bold line is a running mean over a tenth of the steps.',
    figures: stages.flatMap(([stage, curve]) => figuresOf(stage, curve)),
    tables: [
      {
        caption: 'First and last tenth of each curve',
        columns: [left('stage'), left('figure'), right('steps'), right('first tenth'), right('last tenth')],
        rows: stages.flatMap(([stage, curve]) =>
          namesOf(curve).map((name, index) => {
            const values = known(curve, name);
            const tenth = Math.max(1, Math.floor(values.length / 10));
            return [
              index === 0 ? stage : '',
              name,
              String(values.length),
              significant(mean(values.slice(0, tenth).map(([, value]) => value))),
              significant(mean(values.slice(-tenth).map(([, value]) => value))),
            ];
          }),
        ),
      },
    ],
    notes: [],
  };
}

function figuresOf(stage: string, curve: Curve): Figure[] {
  return namesOf(curve)
    .filter((name) => shown.includes(name) || name.startsWith('length') || name.startsWith('reward'))
    .filter((name) => name !== 'reward_std')
    .map((name) => {
      const points = known(curve, name);
      const svg = lineChart({
        description: `${name} over the steps of ${stage}`,
        title: `${stage}: ${name.replaceAll('_', ' ')}`,
        xAxis: 'step',
        lines:
          points.length < 12
            ? [{ name: 'each step', points }]
            : [
                { name: 'mean', points: smoothed(points) },
                { name: 'each step', points },
              ],
        format: (value) => significant(value, 3),
      });
      return { svg, caption: '' };
    });
}

function namesOf(curve: Curve): string[] {
  return Object.keys(curve.values).filter((name) => known(curve, name).length > 1);
}

function known(curve: Curve, name: string): (readonly [number, number])[] {
  return (curve.values[name] ?? []).flatMap((value, index) => {
    const step = curve.steps[index];
    return value === null || step === undefined ? [] : [[step, value] as const];
  });
}

function smoothed(points: readonly (readonly [number, number])[]): (readonly [number, number])[] {
  const half = Math.max(1, Math.floor(points.length / 20));
  return points.map(([step], index) => {
    const near = points.slice(Math.max(0, index - half), index + half + 1);
    return [step, mean(near.map(([, value]) => value))] as const;
  });
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
