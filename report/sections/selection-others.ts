import type { Proof, Shape } from '../evidence.ts';
import { fixed, shapeName, significant, unknown } from '../figures.ts';
import { left, right, type Table } from '../section.ts';

/** The next best selections: how much worse, and where they differ. */
export function alternativeTable({ alternatives, chosen, value }: Proof): Table[] {
  if (alternatives.length === 0) return [];
  return [
    {
      caption: 'The next best selections, each unlike all before it',
      columns: [right(''), right('score'), right('÷ selection'), right('layers unlike'), left('where')],
      rows: alternatives.map((other, index) => {
        const unlike = other.layers.flatMap((shape, layer) =>
          isSame(shape, chosen[layer]) ? [] : [`${layer}: ${shapeName(shape)}`],
        );
        return [
          String(index + 2),
          significant(other.value, 6),
          value === 0 ? unknown : `${fixed(other.value / value, 3)} ×`,
          String(unlike.length),
          unlike.join('; '),
        ];
      }),
      isDetail: true,
    },
  ];
}

function isSame(a: Shape, b: Shape | undefined): boolean {
  return a.experts === b?.experts && a.window === b.window;
}

/** Architectures of others beside the solver's own at the same budget, and what both gain in each scenario. */
export function referenceTables({ references, value }: Proof): Table[] {
  if (references.length === 0) return [];
  const scenarios = references[0]?.gains.map(({ name }) => name) ?? [];
  const gain = (gains: readonly { name: string; ratio: number | undefined }[], name: string): string => {
    const ratio = gains.find((each) => each.name === name)?.ratio;
    return ratio === undefined ? unknown : `${fixed(ratio, 2)} ×`;
  };
  return [
    {
      caption:
        'Other architectures, and the best selection that uses no more than they do; tokens/s over the parent’s as predicted',
      columns: [
        ...[left('architecture'), right('score'), right('÷ selection'), right('layers unlike')],
        ...scenarios.map(right),
      ],
      rows: references.flatMap((reference) => {
        const over = (score: number): string => (value === 0 ? unknown : `${fixed(score / value, 3)} ×`);
        const own = [
          reference.name,
          reference.value === undefined
            ? `not scored: ${reference.missing.join('; ')}`
            : significant(reference.value, 6),
          reference.value === undefined ? unknown : over(reference.value),
          '',
          ...scenarios.map((name) => gain(reference.gains, name)),
        ];
        const best = reference.sameBudget;
        if (best === undefined) return [own];
        return [
          own,
          [
            'best at its budget',
            significant(best.value, 6),
            over(best.value),
            String(best.layersUnlike),
            ...scenarios.map((name) => gain(best.gains, name)),
          ],
        ];
      }),
    },
  ];
}
