import type { Diagnostic } from './diagnostic.ts';

/** How to mark parts of the text; without it the text is plain. */
export interface Paint {
  place: (text: string) => string;
  fault: (text: string) => string;
  hint: (text: string) => string;
}

const plain: Paint = { place: (text) => text, fault: (text) => text, hint: (text) => text };

/** The longest part of a line that is shown; what is cut is marked with an ellipsis. */
const widest = 160;

/**
 * path:line:column: CODE message
 *   12 | the line itself
 *      |          ~~~~
 *   hint: what to do
 */
export function renderDiagnostics(diagnostics: readonly Diagnostic[], paint: Paint = plain): string {
  return diagnostics.map((diagnostic) => renderOne(diagnostic, paint)).join('\n');
}

function renderOne({ code, message, range, excerpt, hint }: Diagnostic, paint: Paint): string {
  const { path, line, column, endColumn } = range;
  const lines = [`${paint.place(`${path}:${line}:${column}:`)} ${paint.fault(code)} ${message}`];
  if (excerpt.trim() !== '') {
    const number = String(line);
    const { text, from } = cut(excerpt, column - 1);
    const before = text.slice(0, column - 1 - from).replace(/[^\t]/g, ' ');
    const length = Math.max(1, Math.min(endColumn - column, text.length - before.length));
    lines.push(
      `  ${number} | ${text}`,
      `  ${' '.repeat(number.length)} | ${before}${paint.fault('~'.repeat(length))}`,
    );
  }
  if (hint !== undefined) lines.push(`  ${paint.hint(`hint: ${hint}`)}`);
  return `${lines.join('\n')}\n`;
}

function cut(line: string, column: number): { text: string; from: number } {
  if (line.length <= widest) return { text: line, from: 0 };
  const from = Math.max(0, Math.min(column - 40, line.length - widest));
  const head = from > 0 ? '…' : '';
  const text = `${head}${line.slice(from, from + widest)}${from + widest < line.length ? '…' : ''}`;
  return { text, from: from - head.length };
}
