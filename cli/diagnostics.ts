import type { Diagnostic } from '../compiler/diagnostic.ts';
import { renderDiagnostics } from '../compiler/render-diagnostics.ts';
import type { Invocation } from './command.ts';
import { paint } from './paint.ts';

/** Everything that is wrong with a spec, for people or as JSON. */
export function printDiagnostics(diagnostics: readonly Diagnostic[], { terminal, json }: Invocation): void {
  if (json) {
    terminal.out(`${JSON.stringify({ diagnostics })}\n`);
    return;
  }
  const text = renderDiagnostics(diagnostics, {
    place: (part) => paint(terminal, 'bold', part),
    fault: (part) => paint(terminal, 'red', part),
    hint: (part) => paint(terminal, 'cyan', part),
  });
  const count = diagnostics.length;
  terminal.err(`${text}\n${count} ${count === 1 ? 'mistake' : 'mistakes'}; nothing was started\n`);
}
