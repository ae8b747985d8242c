import { openHomeStore, homePaths } from '../workers/home.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';

/** One verb of `fretsaw store`, in a file of its own that is loaded when it is called. */
export interface StoreVerb {
  name: string;
  /** What follows `fretsaw store <name>`. */
  usage: string;
  summary: string;
  load: () => Promise<Command>;
}

export const storeVerbs: readonly StoreVerb[] = [
  {
    name: 'where',
    usage: '',
    summary: 'the place that commands given here read and write',
    load: async () => ({ run: where }),
  },
  {
    name: 'gc',
    usage: '[--dry-run] [--grace <n>m|h|d] [--runs <n>]',
    summary: 'remove what no release, pin or run keeps',
    load: async () => (await import('./store-gc.ts')).command,
  },
  {
    name: 'verify',
    usage: '[--bytes [--resume] [--mb-per-s <n>]]',
    summary: 'whether everything that is kept is right; what is broken goes to quarantine',
    load: async () => (await import('./store-verify.ts')).command,
  },
  {
    name: 'repair',
    usage: '--from <place>',
    summary: 'artifacts that lack bytes get them from another store',
    load: async () => (await import('./store-repair.ts')).command,
  },
  {
    name: 'rm',
    usage: '<artifact> --tombstone --reason <text>',
    summary: 'remove an artifact for good; its lineage stays',
    load: async () => (await import('./store-rm.ts')).command,
  },
  {
    name: 'pin',
    usage: '<name> <artifact>',
    summary: 'keep an artifact whatever refers to it',
    load: async () => (await import('./store-pin.ts')).pin,
  },
  {
    name: 'unpin',
    usage: '<name>',
    summary: 'no longer keep it',
    load: async () => (await import('./store-pin.ts')).unpin,
  },
  {
    name: 'du',
    usage: '[--by run|stage]',
    summary: 'what takes the room, and what is shared',
    load: async () => (await import('./store-du.ts')).command,
  },
  {
    name: 'push',
    usage: '<to> [--run <run>]...',
    summary: 'copy to another store what it does not have: all, or what these runs made',
    load: async () => (await import('./store-copy.ts')).push,
  },
  {
    name: 'pull',
    usage: '<from> [--run <run>]...',
    summary: 'the same from another store',
    load: async () => (await import('./store-copy.ts')).pull,
  },
  {
    name: 'copy',
    usage: '<from> <to> [--run <run>]...',
    summary: 'the same between two others',
    load: async () => (await import('./store-copy.ts')).copy,
  },
  {
    name: 'import-hf',
    usage: '<folder> [--pin <name>]',
    summary: 'keep a Hugging Face checkpoint as it is: shards, index, tokenizer',
    load: async () => (await import('./store-hf.ts')).importHf,
  },
  {
    name: 'export-hf',
    usage: '<artifact> <folder>',
    summary: 'the same folder again, byte for byte',
    load: async () => (await import('./store-hf.ts')).exportHf,
  },
];

/** `fretsaw store <verb> ...`: looks after the store itself; each verb reads its own arguments. */
export const command: Command = {
  async run(invocation) {
    const [name, ...args] = invocation.args;
    const verb = storeVerbs.find((one) => one.name === name);
    if (verb === undefined)
      throw new UsageError(`expected a verb, found ${name ?? 'nothing'}; there are:\n${verbList()}`);
    const loaded = await verb.load();
    return await loaded.run({ ...invocation, args });
  },
};

function verbList(): string {
  const lines = storeVerbs.map(({ name, usage }) => `  fretsaw store ${name} ${usage}`.trimEnd());
  const width = Math.max(...lines.map(({ length }) => length));
  return lines.map((line, at) => `${line.padEnd(width)}  ${storeVerbs[at]?.summary ?? ''}`).join('\n');
}

async function where({ env, cwd, terminal, json }: Invocation): Promise<number> {
  const paths = homePaths(env, cwd);
  const { location } = openHomeStore(paths);
  terminal.out(json ? `${JSON.stringify({ location, home: paths.root })}\n` : `${location}\n`);
  return exitCodes.ok;
}
