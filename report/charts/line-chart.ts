import {
  element,
  extent,
  line,
  linearScale,
  logScale,
  logTicks,
  marker,
  path,
  svg,
  text,
  ticks,
} from '../svg.ts';

export interface Line {
  name: string;
  points: (readonly [number, number])[];
}

export interface LineChart {
  description: string;
  title: string;
  xAxis: string;
  lines: Line[];
  format: (value: number) => string;
  isLog?: boolean;
  /** A mark at each point, for few points. */
  hasMarks?: boolean;
  /** A point to single out. */
  chosen?: readonly [number, number];
  size?: { width: number; height: number };
  /** Shared between small multiples, so that they can be compared. */
  domainY?: readonly [number, number];
  xTicks?: readonly number[];
}

const margin = { top: 30, right: 16, bottom: 40, left: 58 };

/** A small chart; lines differ in dash and mark as well as colour. */
export function lineChart(chart: LineChart): string {
  const { width, height } = chart.size ?? { width: 450, height: 230 };
  const points = chart.lines.flatMap((entry) => entry.points);
  const [firstX, lastX] = extent(
    points.map(([x]) => x),
    0,
  );
  const values = points.map(([, y]) => y);
  const domainY: readonly [number, number] =
    chart.domainY ??
    (chart.isLog === true ? [Math.min(...values) * 0.9, Math.max(...values) * 1.1] : extent(values));
  const x = linearScale(firstX === lastX ? [firstX - 1, lastX + 1] : [firstX, lastX], [
    margin.left,
    width - margin.right,
  ]);
  const range = [height - margin.bottom, margin.top] as const;
  const y = chart.isLog === true ? logScale(domainY, range) : linearScale(domainY, range);
  const marks = chart.isLog === true ? logTicks(domainY) : ticks(domainY, 4);
  return svg({ width, height }, chart.description, [
    text(margin.left, 15, { text: chart.title, class: 'label strong' }),
    ...marks.flatMap((tick) => [
      line([margin.left, y(tick)], [width - margin.right, y(tick)], 'grid'),
      text(margin.left - 7, y(tick) + 4, { text: chart.format(tick), anchor: 'end', class: 'tick' }),
    ]),
    ...(chart.xTicks ?? ticks([firstX, lastX], 5)).map((tick) =>
      text(x(tick), height - margin.bottom + 17, { text: String(tick), anchor: 'middle', class: 'tick' }),
    ),
    text((margin.left + width - margin.right) / 2, height - 6, {
      text: chart.xAxis,
      anchor: 'middle',
      class: 'axis',
    }),
    ...chart.lines.flatMap((entry, index) => [
      path(
        entry.points.map(([px, py]) => [x(px), y(py)] as const),
        `line l${index % 4}`,
      ),
      ...(chart.hasMarks === true
        ? entry.points.map(([px, py]) => marker(index, { x: x(px), y: y(py), class: 'tiny' }))
        : []),
    ]),
    ...(chart.chosen === undefined
      ? []
      : [element('circle', { cx: x(chart.chosen[0]), cy: y(chart.chosen[1]), r: 9, class: 'chosen' })]),
    ...lineKey(chart, width),
  ]);
}

function lineKey(chart: LineChart, width: number): string[] {
  if (chart.lines.length < 2) return [];
  let at = width - margin.right - chart.lines.reduce((sum, entry) => sum + 40 + entry.name.length * 6.4, 0);
  return chart.lines.flatMap((entry, index) => {
    const parts = [
      path(
        [
          [at, 11],
          [at + 20, 11],
        ],
        `line l${index % 4}`,
      ),
      text(at + 25, 15, { text: entry.name, class: 'tick' }),
    ];
    at += 40 + entry.name.length * 6.4;
    return parts;
  });
}
