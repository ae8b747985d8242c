import { element, svg, text } from '../svg.ts';
import { hatch } from './layer-map.ts';

export interface HeatMap {
  description: string;
  /** Rows of cells; each 0 (nothing) to 1 (most), best first. */
  rows: { label: string; cells: { strength: number; isKept: boolean }[] }[];
}

const width = 920;
const margin = { left: 84, right: 12, top: 26, bottom: 44 };

/** A row a layer, its experts best first; darkness is the score, a bar and hatching what was removed. */
export function heatMap(map: HeatMap): string {
  const columns = Math.max(...map.rows.map((row) => row.cells.length));
  const step = (width - margin.left - margin.right) / columns;
  const rowHeight = Math.max(9, Math.min(26, 360 / map.rows.length));
  const height = margin.top + rowHeight * map.rows.length + margin.bottom;
  return svg({ width, height }, map.description, [
    hatch,
    text(margin.left, 14, { text: 'best expert of the layer', class: 'tick' }),
    text(width - margin.right, 14, { text: 'worst', anchor: 'end', class: 'tick' }),
    ...map.rows.flatMap((row, index) => {
      const y = margin.top + index * rowHeight;
      return [
        text(margin.left - 10, y + rowHeight / 2 + 4, { text: row.label, anchor: 'end', class: 'tick' }),
        ...row.cells.flatMap((cell, column) =>
          drawCell(cell, { x: margin.left + column * step, y, step, rowHeight }),
        ),
      ];
    }),
    ...key(height - 14),
  ]);
}

function drawCell(
  cell: { strength: number; isKept: boolean },
  at: { x: number; y: number; step: number; rowHeight: number },
): string[] {
  const gap = at.step > 8 ? 1 : 0.25;
  const frame = { x: at.x + gap, y: at.y + gap, width: at.step - 2 * gap, height: at.rowHeight - 2 * gap };
  const shade = Math.round(Math.max(0, Math.min(1, cell.strength)) * 8);
  return [
    element('rect', { ...frame, class: `heat h${shade}` }),
    ...(cell.isKept ? [] : [element('rect', { ...frame, class: 'gone' })]),
  ];
}

function key(y: number): string[] {
  const cells = Array.from({ length: 9 }, (_, shade) =>
    element('rect', {
      x: margin.left + 44 + shade * 18,
      y: y - 10,
      width: 17,
      height: 12,
      class: `heat h${shade}`,
    }),
  );
  return [
    text(margin.left, y, { text: 'score 0', class: 'tick' }),
    ...cells,
    text(margin.left + 212, y, { text: 'most in the layer', class: 'tick' }),
    element('rect', { x: margin.left + 330, y: y - 10, width: 17, height: 12, class: 'heat h1' }),
    element('rect', { x: margin.left + 330, y: y - 10, width: 17, height: 12, class: 'gone' }),
    text(margin.left + 354, y, { text: 'removed', class: 'tick' }),
  ];
}
