/** Every way in which a spec can be wrong. Each has a pair in test/fixtures/specs/invalid. */
export const diagnosticCodes = [
  // The text.
  'NO_FILE',
  'TOO_LARGE',
  'SYNTAX',
  'ALIAS',
  'TAG',
  'DUPLICATE_KEY',
  'BAD_NUMBER',
  // Its shape.
  'UNKNOWN_KEY',
  'MISSING_KEY',
  'WRONG_TYPE',
  'BAD_VALUE',
  'OUT_OF_RANGE',
  'BAD_NAME',
  'BAD_LOCATION',
  // Overlays and expressions.
  'EXTENDS_CYCLE',
  'UNKNOWN_PROFILE',
  'UNKNOWN_OVERLAY',
  'UNKNOWN_PARAM',
  'BAD_EXPRESSION',
  // Stages.
  'UNKNOWN_KIND',
  'UNKNOWN_SETTING',
  'MISSING_SETTING',
  'UNKNOWN_INPUT',
  'MISSING_INPUT',
  'INPUT_FORM',
  'BAD_REFERENCE',
  'UNKNOWN_STAGE',
  'UNKNOWN_OUTPUT',
  'INPUT_TYPE',
  'CYCLE',
  'BAD_LAYOUT',
  // Legs.
  'BAD_MATRIX',
  'UNKNOWN_LEG',
  'LEG_NEEDED',
  'EQUAL_LEGS',
] as const;

export type DiagnosticCode = (typeof diagnosticCodes)[number];

/** Lines and columns count from 1, columns in UTF-16 units; `endColumn` is one past the end, on `line`. */
export interface Range {
  path: string;
  line: number;
  column: number;
  endColumn: number;
}

/** One mistake in a spec, at the place where it was written. */
export interface Diagnostic {
  code: DiagnosticCode;
  message: string;
  range: Range;
  /** The line itself. */
  excerpt: string;
  /** What to do about it. */
  hint?: string;
}

export function compareDiagnostics(a: Diagnostic, b: Diagnostic): number {
  return (
    compareText(a.range.path, b.range.path) ||
    a.range.line - b.range.line ||
    a.range.column - b.range.column ||
    compareText(a.message, b.message)
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
