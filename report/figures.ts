/** Numbers as people read them. A hyphen stands for what is not known. */
export const unknown = '–';

/** 0.8734 -> 87.3 % */
export function percent(value: number | undefined | null, digits = 1): string {
  return isKnown(value) ? `${(value * 100).toFixed(digits)} %` : unknown;
}

/** 0.8734, 0.0121 -> 87.3 ± 1.2 */
export function percentWithError(value: number, standardError: number | null | undefined): string {
  const error = isKnown(standardError) ? ` ± ${(standardError * 100).toFixed(1)}` : '';
  return `${(value * 100).toFixed(1)}${error}`;
}

/** 0.8734, 0.9 -> 87.3 to 90.0 */
export function percentRange([low, high]: readonly [number, number]): string {
  return `${(low * 100).toFixed(1)} to ${(high * 100).toFixed(1)}`;
}

export function fixed(value: number | undefined | null, digits: number): string {
  return isKnown(value) ? value.toFixed(digits) : unknown;
}

/** Four significant digits, exponents where zeros would hide them. */
export function significant(value: number | undefined | null, digits = 4): string {
  if (!isKnown(value)) return unknown;
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e7 || size < 1e-4) return value.toExponential(digits - 1);
  return Number(value.toPrecision(digits)).toString();
}

export function grouped(value: number | undefined | null): string {
  return isKnown(value)
    ? Math.round(value)
        .toString()
        .replace(/\B(?=(\d{3})+$)/g, ' ')
    : unknown;
}

/** 116829156672 -> 116.83 B */
export function counted(value: number): string {
  for (const [unit, size] of [
    ['B', 1e9],
    ['M', 1e6],
    ['K', 1e3],
  ] as const) {
    if (value >= size) return `${(value / size).toFixed(2)} ${unit}`;
  }
  return String(value);
}

export function bytes(value: number): string {
  for (const [unit, size] of [
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const) {
    if (value >= size) return `${(value / size).toFixed(2)} ${unit}`;
  }
  return `${value} B`;
}

export function windowName(window: number | null): string {
  return window === null ? 'full' : grouped(window);
}

/** 64 experts, window 128 */
export function shapeName({ experts, window }: { experts: number; window: number | null }): string {
  return `${experts} experts, ${window === null ? 'full attention' : `window ${grouped(window)}`}`;
}

function isKnown(value: number | undefined | null): value is number {
  return value !== undefined && value !== null && Number.isFinite(value);
}
