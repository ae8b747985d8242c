import type { Layer } from '../evidence.ts';
import { grouped } from '../figures.ts';
import { element, line, svg, text } from '../svg.ts';

const width = 920;
const margin = { left: 118, right: 12, top: 14 };
const barHeight = 150;
const stripHeight = 26;

/** Bars of experts over two strips of attention, parent above child; a column a layer. */
export function layerMap(layers: readonly Layer[], description: string): string {
  const step = (width - margin.left - margin.right) / layers.length;
  const most = Math.max(...layers.map((layer) => layer.parentExperts));
  const bars = margin.top + barHeight;
  const parentStrip = bars + 34;
  const childStrip = parentStrip + stripHeight + 8;
  const height = childStrip + stripHeight + 52;
  return svg({ width, height }, description, [
    hatch,
    text(margin.left - 12, margin.top + 12, { text: `${most} experts`, anchor: 'end', class: 'tick' }),
    text(margin.left - 12, bars, { text: '0', anchor: 'end', class: 'tick' }),
    text(margin.left - 12, parentStrip + 17, { text: 'parent attends', anchor: 'end', class: 'tick' }),
    text(margin.left - 12, childStrip + 17, { text: 'child attends', anchor: 'end', class: 'tick' }),
    line([margin.left, bars], [width - margin.right, bars], 'axisline'),
    ...layers.flatMap((layer, index) => {
      const x = margin.left + index * step;
      return [
        ...expertBar(layer, { x, step, bars, most }),
        text(x + step / 2, bars + 16, { text: String(index), anchor: 'middle', class: 'tick' }),
        ...attention(layer.parentWindow, { x, y: parentStrip, step, isChanged: false }),
        ...attention(layer.window, {
          x,
          y: childStrip,
          step,
          isChanged: layer.window !== layer.parentWindow,
        }),
      ];
    }),
    ...key(margin.left, height - 16),
  ]);
}

function expertBar(layer: Layer, at: { x: number; step: number; bars: number; most: number }): string[] {
  const inset = Math.max(1, at.step * 0.14);
  const parent = (layer.parentExperts / at.most) * barHeight;
  const child = (layer.experts / at.most) * barHeight;
  const frame = { x: at.x + inset, width: at.step - 2 * inset };
  const parts = [
    element('rect', { ...frame, y: at.bars - parent, height: parent, class: 'removed' }),
    element('rect', { ...frame, y: at.bars - child, height: child, class: 'kept' }),
  ];
  if (at.step > 22) {
    parts.push(
      text(at.x + at.step / 2, at.bars - child + 14, {
        text: String(layer.experts),
        anchor: 'middle',
        class: 'onbar',
      }),
    );
  }
  return parts;
}

/** Full attention fills its cell; a window is a cell with a gap and its size in tokens. */
function attention(
  window: number | null,
  at: { x: number; y: number; step: number; isChanged: boolean },
): string[] {
  const inset = Math.max(1, at.step * 0.14);
  const look = window === null ? 'full' : at.isChanged ? 'windowed changed' : 'windowed';
  const frame = { x: at.x + inset, y: at.y, width: at.step - 2 * inset, height: stripHeight, class: look };
  const name = window === null ? '' : at.step > 34 ? grouped(window) : shortened(window);
  return [
    element('rect', frame),
    ...(name === ''
      ? []
      : [text(at.x + at.step / 2, at.y + 17, { text: name, anchor: 'middle', class: 'small' })]),
  ];
}

function shortened(window: number): string {
  return window >= 1024 ? `${Math.round(window / 1024)}K` : String(window);
}

function key(x: number, y: number): string[] {
  const entries: [string, string][] = [
    ['kept', 'experts kept'],
    ['removed', 'experts removed'],
    ['full', 'full attention'],
    ['windowed', 'window (tokens)'],
    ['windowed changed', 'window given to the child'],
  ];
  let at = x;
  return entries.flatMap(([look, name]) => {
    const parts = [
      element('rect', { x: at, y: y - 10, width: 14, height: 12, class: look }),
      text(at + 20, y, { text: name, class: 'tick' }),
    ];
    at += 40 + name.length * 6.6;
    return parts;
  });
}

/** Diagonal lines: what is gone can be told without colour. */
export const hatch = element(
  'defs',
  {},
  element(
    'pattern',
    { id: 'hatch', width: 6, height: 6, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
    element('line', { x1: 0, y1: 0, x2: 0, y2: 6, class: 'hatchline' }),
  ),
);
