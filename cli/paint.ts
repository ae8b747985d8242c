import type { Terminal } from './command.ts';

const codes = { dim: 2, red: 31, green: 32, yellow: 33, cyan: 36, bold: 1 } as const;

/** Colour only where the terminal has it: never in a pipe, with NO_COLOR or --json. */
export function paint(
  { hasColor }: Pick<Terminal, 'hasColor'>,
  color: keyof typeof codes,
  text: string,
): string {
  return hasColor ? `\u001b[${codes[color]}m${text}\u001b[0m` : text;
}
