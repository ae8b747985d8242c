import type { FrontierPoint } from '../statistics.ts';
import { extent, line, linearScale, logScale, logTicks, marker, path, svg, text, ticks } from '../svg.ts';
import { legend } from './dot-plot.ts';

const width = 920;
const height = 470;
const margin = { top: 40, right: 150, bottom: 52, left: 66 };

/** Accuracy over requests a second; a line a model from high to low effort; dominated points are hollow. */
export function frontierPlot(
  points: readonly FrontierPoint[],
  efforts: readonly string[],
  named: { description: string; strong: readonly string[] },
): string {
  const speeds = points.map((point) => point.speed);
  const domainX: [number, number] = [Math.min(...speeds) * 0.88, Math.max(...speeds) * 1.12];
  const domainY = extent(
    points.map((point) => point.accuracy),
    0.1,
  );
  const x = logScale(domainX, [margin.left, width - margin.right]);
  const y = linearScale(domainY, [height - margin.bottom, margin.top]);
  const names = [...new Set(points.map((point) => point.model.name))];
  const bottom = height - margin.bottom;
  return svg({ width, height }, named.description, [
    ...legend([...efforts], { x: margin.left, y: 16 }),
    ...logTicks(domainX).flatMap((tick) => [
      line([x(tick), margin.top], [x(tick), bottom], 'grid'),
      text(x(tick), bottom + 18, { text: String(tick), anchor: 'middle', class: 'tick' }),
    ]),
    ...ticks(domainY, 6).flatMap((tick) => [
      line([margin.left, y(tick)], [width - margin.right, y(tick)], 'grid'),
      text(margin.left - 8, y(tick) + 4, {
        text: `${(tick * 100).toFixed(0)} %`,
        anchor: 'end',
        class: 'tick',
      }),
    ]),
    text((margin.left + width - margin.right) / 2, bottom + 40, {
      text: 'requests a second on the measuring machine: tokens/s ÷ mean tokens of an answer (log scale)',
      anchor: 'middle',
      class: 'axis',
    }),
    path(
      envelope(points).map((point) => [x(point.speed), y(point.accuracy)] as const),
      'envelope',
    ),
    ...names.map((name) =>
      path(
        ordered(points, name).map((point) => [x(point.speed), y(point.accuracy)] as const),
        named.strong.includes(name) ? 'trace strong' : 'trace',
      ),
    ),
    ...points.map((point) =>
      marker(efforts.indexOf(point.effort), {
        x: x(point.speed),
        y: y(point.accuracy),
        hollow: point.isDominated,
      }),
    ),
    ...endLabels(points, names, { x, y }),
  ]);
}

/** Names at each model's fastest point, pushed apart where they would overlap, with a leader to their point. */
function endLabels(
  points: readonly FrontierPoint[],
  names: readonly string[],
  scales: { x: (value: number) => number; y: (value: number) => number },
): string[] {
  const ends = names
    .flatMap((name) => ordered(points, name).slice(-1))
    .map((point) => ({
      label: point.model.label,
      x: scales.x(point.speed),
      y: scales.y(point.accuracy),
      at: scales.y(point.accuracy),
    }))
    .sort((a, b) => a.y - b.y);
  for (const [index, end] of ends.entries())
    end.at = Math.max(end.at, (ends[index - 1]?.at ?? -Infinity) + 14);
  const over = (ends.at(-1)?.at ?? 0) - (height - margin.bottom);
  if (over > 0) for (const end of ends) end.at -= over;
  for (let index = ends.length - 2; index >= 0; index--) {
    const end = ends[index];
    if (end !== undefined) end.at = Math.min(end.at, (ends[index + 1]?.at ?? Infinity) - 14);
  }
  const column = width - margin.right + 18;
  return ends.flatMap((end) => [
    line([end.x + 7, end.y], [column - 4, end.at], 'leader'),
    text(column, end.at + 4, { text: end.label, class: 'tick' }),
  ]);
}

function ordered(points: readonly FrontierPoint[], name: string): FrontierPoint[] {
  return points.filter((point) => point.model.name === name).sort((a, b) => a.speed - b.speed);
}

function envelope(points: readonly FrontierPoint[]): FrontierPoint[] {
  return points.filter((point) => !point.isDominated).sort((a, b) => a.speed - b.speed);
}
