/** A reference as written: `parent`, `blocks.scores`, `evaluate[effort=low].results`, `evaluate[*].results`. */
export interface Reference {
  stage: string;
  output: string | undefined;
  /** `[*]`: all legs, of every dimension. */
  isAll: boolean;
  /** `[effort=low]`, `[effort=*]`. */
  selectors: ReadonlyMap<string, string>;
}

const pattern = /^([A-Za-z][A-Za-z0-9_-]*)(?:\[([^\]]*)\])?(?:\.([A-Za-z][A-Za-z0-9_-]*))?$/;

/** `undefined` when the text is no reference. */
export function parseReference(text: string): Reference | undefined {
  const found = pattern.exec(text.trim());
  if (found?.[1] === undefined) return undefined;
  const [, stage, inside, output] = found;
  if (inside === undefined) return { stage, output, isAll: false, selectors: new Map() };
  if (inside.trim() === '*') return { stage, output, isAll: true, selectors: new Map() };
  const selectors = new Map<string, string>();
  for (const part of inside.split(',')) {
    const [name, value, ...rest] = part.split('=').map((side) => side.trim());
    if (!name || !value || rest.length > 0 || selectors.has(name)) return undefined;
    selectors.set(name, value);
  }
  return { stage, output, isAll: false, selectors };
}
