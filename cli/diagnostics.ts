import type { Diagnostic } from '../compiler/diagnostic.ts';
import { renderDiagnostics as renderText, type Paint } from '../compiler/render-diagnostics.ts';
import type { Invocation } from './command.ts';

const colors: Paint = {
  place: (text) => `\u001b[1m${text}\u001b[22m`,
  fault: (text) => `\u001b[31m${text}\u001b[39m`,
  hint: (text) => `\u001b[36m${text}\u001b[39m`,
};

/** Everything that is wrong with a spec, on `err`; with --json as one document on `out`. */
export function renderDiagnostics(
  diagnostics: readonly Diagnostic[],
  { terminal, json }: Pick<Invocation, 'terminal' | 'json'>,
): void {
  if (json) {
    terminal.out(`${JSON.stringify({ schema: 'fretsaw/diagnostics/v1', diagnostics })}\n`);
    return;
  }
  const count = diagnostics.length;
  const summary = `${count} ${count === 1 ? 'fault' : 'faults'}; nothing was started\n`;
  terminal.err(`${renderText(diagnostics, terminal.hasColor ? colors : undefined)}\n${summary}`);
}
