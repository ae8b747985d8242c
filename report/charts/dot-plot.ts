import { extent, line, linearScale, logScale, logTicks, marker, svg, text, ticks } from '../svg.ts';

export interface DotRow {
  label: string;
  /** One point a series; null where there is none. */
  points: ({ value: number; error: number | null } | null)[];
  isReference?: boolean;
}

export interface DotPlot {
  description: string;
  axis: string;
  series: string[];
  rows: DotRow[];
  format: (value: number) => string;
  isLog?: boolean;
}

const width = 920;
const rowHeight = 30;
const margin = { top: 40, right: 24, bottom: 46, left: 190 };

/** A row a model, a mark a series, whiskers of one standard error; the first reference row draws guides. */
export function dotPlot(plot: DotPlot): string {
  const height = margin.top + rowHeight * plot.rows.length + margin.bottom;
  const points = plot.rows.flatMap((row) => row.points.flatMap((point) => (point === null ? [] : [point])));
  const ends = points.flatMap(({ value, error }) => [value - (error ?? 0), value + (error ?? 0)]);
  const domain = plot.isLog === true ? logDomain(ends) : extent(ends);
  const range = [margin.left, width - margin.right] as const;
  const x = plot.isLog === true ? logScale(domain, range) : linearScale(domain, range);
  const bottom = height - margin.bottom;
  const marks = plot.isLog === true ? logTicks(domain) : ticks(domain, 7);
  return svg({ width, height }, plot.description, [
    ...legend(plot.series),
    ...marks.flatMap((tick) => [
      line([x(tick), margin.top - 6], [x(tick), bottom], 'grid'),
      text(x(tick), bottom + 18, { text: plot.format(tick), anchor: 'middle', class: 'tick' }),
    ]),
    text((margin.left + width - margin.right) / 2, bottom + 38, {
      text: plot.axis,
      anchor: 'middle',
      class: 'axis',
    }),
    ...guides(plot, x, bottom),
    ...plot.rows.flatMap((row, index) => drawRow(row, margin.top + rowHeight * (index + 0.5), x)),
  ]);
}

function drawRow(row: DotRow, y: number, x: (value: number) => number): string[] {
  const middle = (row.points.length - 1) / 2;
  return [
    line([margin.left, y + rowHeight / 2], [width - margin.right, y + rowHeight / 2], 'rule'),
    text(margin.left - 14, y + 4, {
      text: row.label,
      anchor: 'end',
      class: row.isReference === true ? 'label strong' : 'label',
    }),
    ...row.points.flatMap((point, series) => {
      if (point === null) return [];
      const at = y + (series - middle) * 6;
      const whisker =
        point.error === null
          ? []
          : [
              line(
                [x(point.value - point.error), at],
                [x(point.value + point.error), at],
                `whisker m${series % 4}`,
              ),
            ];
      return [...whisker, marker(series, { x: x(point.value), y: at })];
    }),
  ];
}

/** Where the reference's own points are, down all rows. */
function guides(plot: DotPlot, x: (value: number) => number, bottom: number): string[] {
  const reference = plot.rows.find((row) => row.isReference === true);
  return (reference?.points ?? []).flatMap((point, series) =>
    point === null
      ? []
      : [line([x(point.value), margin.top - 2], [x(point.value), bottom], `guide m${series % 4}`)],
  );
}

export function legend(
  series: readonly string[],
  at: { x: number; y: number } = { x: margin.left, y: 16 },
): string[] {
  let { x } = at;
  return series.flatMap((name, index) => {
    const parts = [
      marker(index, { x: x + 6, y: at.y }),
      text(x + 18, at.y + 4, { text: name, class: 'tick' }),
    ];
    x += 34 + name.length * 7.2;
    return parts;
  });
}

function logDomain(values: readonly number[]): [number, number] {
  const positive = values.filter((value) => value > 0);
  return [Math.min(...positive) * 0.85, Math.max(...positive) * 1.15];
}
