#!/usr/bin/env node
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exitCodes, UsageError, type Invocation } from './command.ts';
import { commandEntries, helpOf, overview } from './commands.ts';
import { createTerminal } from './terminal.ts';
import { isFailure } from '../core/errors.ts';

// The SDK is pinned with everything else: what its later versions will need is nothing for a user.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';
process.exitCode = await main(process.argv.slice(2));

async function main(argv: string[]): Promise<number> {
  const json = argv.includes('--json');
  const terminal = createTerminal(process.env, json);
  const { words, store } = takeStore(argv.filter((word) => word !== '--json'));
  const [name, ...args] = words;
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    terminal.out(args[0] === undefined ? overview() : helpOf(args[0]));
    return name === undefined ? exitCodes.usage : exitCodes.ok;
  }
  const entry = commandEntries.find((command) => command.name === name);
  if (entry === undefined) {
    terminal.err(`fretsaw: there is no command ${name}; fretsaw help lists them\n`);
    return exitCodes.usage;
  }
  if (args.includes('--help') || args.includes('-h')) {
    terminal.out(helpOf(name));
    return exitCodes.ok;
  }
  const invocation: Invocation = {
    args,
    json,
    env: store === undefined ? process.env : { ...process.env, FRETSAW_STORE: store },
    cwd: process.cwd(),
    terminal,
    installation: { root: installationRoot() },
  };
  try {
    const { command } = await entry.load();
    return await command.run(invocation);
  } catch (error) {
    return report(error, name, invocation);
  }
}

/** `--store <place>` may stand anywhere; it says for one command what FRETSAW_STORE says for all. */
function takeStore(argv: readonly string[]): { words: string[]; store: string | undefined } {
  const at = argv.findIndex((word) => word === '--store' || word.startsWith('--store='));
  if (at < 0) return { words: [...argv], store: undefined };
  const isJoined = argv[at]?.startsWith('--store=') === true;
  const store = isJoined ? argv[at]?.slice('--store='.length) : argv[at + 1];
  return { words: argv.toSpliced(at, isJoined ? 1 : 2), store: store ?? '' };
}

/** dist/fretsaw.js and cli/main.ts both lie one folder below the root. */
function installationRoot(): string {
  return dirname(dirname(fileURLToPath(import.meta.url)));
}

function report(error: unknown, name: string, { terminal, json }: Invocation): number {
  const message = error instanceof Error ? error.message : String(error);
  const code = errorCode(error);
  if (json) terminal.out(`${JSON.stringify({ error: { code, message } })}\n`);
  if (code === 'BUG') terminal.err(`${error instanceof Error ? (error.stack ?? message) : message}\n`);
  else terminal.err(`fretsaw ${name}: ${code === 'USAGE' ? '' : `${code}: `}${message}\n`);
  if (code === 'USAGE') terminal.err(`see: fretsaw help ${name}\n`);
  return exitCodeOf(code);
}

function errorCode(error: unknown): string {
  if (error instanceof UsageError) return 'USAGE';
  if (isFailure(error)) return error.code;
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined;
  // node:util parseArgs says so of the user's own mistakes.
  return typeof code === 'string' && code.startsWith('ERR_PARSE_ARGS') ? 'USAGE' : 'BUG';
}

function exitCodeOf(code: string): number {
  switch (code) {
    case 'USAGE':
      return exitCodes.usage;
    case 'NOT_FOUND':
      return exitCodes.notFound;
    case 'STORE_UNAVAILABLE':
    case 'TIMEOUT':
    case 'DISK_FULL':
      return exitCodes.unavailable;
    default:
      return exitCodes.failed;
  }
}
