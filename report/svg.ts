/** Just enough SVG: elements as text, scales, ticks. Colours are classes, so that light and dark work. */
export type Attributes = Readonly<Record<string, string | number | undefined>>;

export function element(name: string, attributes: Attributes, ...children: string[]): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(
      ([key, value]) => ` ${key}="${typeof value === 'number' ? short(value) : escapeMarkup(value ?? '')}"`,
    )
    .join('');
  return children.length === 0 ? `<${name}${written}/>` : `<${name}${written}>${children.join('')}</${name}>`;
}

export function text(
  x: number,
  y: number,
  options: { text: string; class?: string; anchor?: string; rotate?: number },
): string {
  const transform =
    options.rotate === undefined ? undefined : `rotate(${options.rotate} ${short(x)} ${short(y)})`;
  return element(
    'text',
    { x, y, class: options.class ?? 'label', 'text-anchor': options.anchor, transform },
    escapeMarkup(options.text),
  );
}

export function svg(
  size: { width: number; height: number },
  description: string,
  children: readonly string[],
): string {
  return element(
    'svg',
    {
      viewBox: `0 0 ${short(size.width)} ${short(size.height)}`,
      width: size.width,
      height: size.height,
      role: 'img',
      xmlns: 'http://www.w3.org/2000/svg',
    },
    element('title', {}, escapeMarkup(description)),
    ...children,
  );
}

export function escapeMarkup(raw: string): string {
  return raw.replace(/[&<>"']/g, (character) => entities[character] ?? character);
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

export type Scale = (value: number) => number;

export function linearScale(domain: readonly [number, number], range: readonly [number, number]): Scale {
  const span = domain[1] - domain[0] || 1;
  return (value) => range[0] + ((value - domain[0]) / span) * (range[1] - range[0]);
}

export function logScale(domain: readonly [number, number], range: readonly [number, number]): Scale {
  const linear = linearScale([Math.log(domain[0]), Math.log(domain[1])], range);
  return (value) => linear(Math.log(value));
}

/** Round numbers inside a domain: of the steps 1, 2 and 5 times a power of ten, the one that gives nearest `wanted`. */
export function ticks(domain: readonly [number, number], wanted: number): number[] {
  const span = domain[1] - domain[0];
  if (!(span > 0)) return [domain[0]];
  const power = 10 ** Math.floor(Math.log10(span / wanted));
  const steps = [1, 2, 5, 10].map((factor) => factor * power);
  const distance = (step: number): number => Math.abs(span / step - wanted);
  const step = steps.reduce((best, candidate) => (distance(candidate) < distance(best) ? candidate : best));
  const found: number[] = [];
  for (let index = Math.ceil(domain[0] / step - 1e-9); index * step <= domain[1] + step * 1e-9; index++) {
    found.push(Number((index * step).toPrecision(12)) + 0);
  }
  return found;
}

/** 1, 2 and 5 times powers of ten inside a domain; evenly spaced ones where it spans less than that. */
export function logTicks(domain: readonly [number, number]): number[] {
  const found: number[] = [];
  for (let power = Math.floor(Math.log10(domain[0])); power <= Math.ceil(Math.log10(domain[1])); power++) {
    for (const factor of [1, 2, 5]) {
      const tick = factor * 10 ** power;
      if (tick >= domain[0] * 0.999 && tick <= domain[1] * 1.001) found.push(Number(tick.toPrecision(6)));
    }
  }
  return found.length < 4 ? ticks(domain, 6) : found;
}

/** The least and the most, with room beside them. */
export function extent(values: readonly number[], room = 0.06): [number, number] {
  const least = Math.min(...values);
  const most = Math.max(...values);
  const space = (most - least) * room || Math.abs(most) * room || 1;
  return [least - space, most + space];
}

/** The marks that stand for low, medium and high effort: told apart without colour. */
export function marker(kind: number, at: { x: number; y: number; class?: string; hollow?: boolean }): string {
  const look = `mark m${kind % 4}${at.hollow === true ? ' hollow' : ''} ${at.class ?? ''}`.trim();
  const r = 5;
  const { x, y } = at;
  switch (kind % 4) {
    case 0:
      return element('circle', { cx: x, cy: y, r: r - 0.4, class: look });
    case 1:
      return element('path', {
        d: `M${short(x)} ${short(y - r - 0.8)}L${short(x + r + 0.8)} ${short(y)}L${short(x)} ${short(y + r + 0.8)}L${short(x - r - 0.8)} ${short(y)}Z`,
        class: look,
      });
    case 2:
      return element('rect', {
        x: x - r + 0.6,
        y: y - r + 0.6,
        width: 2 * r - 1.2,
        height: 2 * r - 1.2,
        class: look,
      });
    default:
      return element('path', {
        d: `M${short(x)} ${short(y - r)}L${short(x + r)} ${short(y + r)}L${short(x - r)} ${short(y + r)}Z`,
        class: look,
      });
  }
}

export function path(points: readonly (readonly [number, number])[], look: string): string {
  const d = points.map(([x, y], index) => `${index === 0 ? 'M' : 'L'}${short(x)} ${short(y)}`).join('');
  return element('path', { d, class: look });
}

export function line(from: readonly [number, number], to: readonly [number, number], look: string): string {
  return element('line', { x1: from[0], y1: from[1], x2: to[0], y2: to[1], class: look });
}

/** Two decimals are a fiftieth of a pixel's worth: enough, and stable. */
export function short(value: number): string {
  return Number(value.toFixed(2)).toString();
}
