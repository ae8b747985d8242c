import type { Command } from './command.ts';
export const command: Command = { async run() { return 0; } };
