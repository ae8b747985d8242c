import type { Terminal } from '../../cli/command.ts';

/** A pipe of 80 columns that keeps what a command says; `heard` gets errors too. */
export function textTerminal({ heard = 'out' }: { heard?: 'out' | 'all' } = {}): {
  terminal: Terminal;
  said: () => string;
} {
  const parts: string[] = [];
  const keep = (part: string): void => void parts.push(part);
  return {
    terminal: {
      out: keep,
      err: heard === 'all' ? keep : () => undefined,
      isTty: false,
      hasColor: false,
      columns: 80,
      rows: 24,
    },
    said: () => parts.join(''),
  };
}
