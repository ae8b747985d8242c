import { parseArgs } from 'node:util';
import type { Digest } from '../core/digest.ts';
import { copyStore, type Copied, type CopyChoice } from '../store/copy-store.ts';
import type { Store } from '../store/store.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { findRun } from './find-run.ts';
import { sizeText } from './table.ts';

/** `fretsaw store copy <from> <to> [--run <run>]...`. */
export const copy: Command = {
  run: (invocation) => {
    const { places, runs } = parseChoice(invocation, 2);
    const [from = '', to = ''] = places;
    return copyBetween({ from, to, runs }, invocation);
  },
};

/** `fretsaw store push <to> [--run <run>]...`: from the store in use. */
export const push: Command = {
  run: (invocation) => {
    const { places, runs } = parseChoice(invocation, 1);
    return copyBetween({ from: undefined, to: places[0], runs }, invocation);
  },
};

/** `fretsaw store pull <from> [--run <run>]...`: to the store in use. */
export const pull: Command = {
  run: (invocation) => {
    const { places, runs } = parseChoice(invocation, 1);
    return copyBetween({ from: places[0], to: undefined, runs }, invocation);
  },
};

function parseChoice({ args }: Invocation, count: number): { places: string[]; runs: string[] } {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { run: { type: 'string', multiple: true, default: [] } },
  });
  if (positionals.length !== count)
    throw new UsageError(`expected ${count === 1 ? 'one store' : 'two stores'}, found ${positionals.length}`);
  return { places: positionals, runs: values.run };
}

interface Copying {
  /** Undefined: the store in use. */
  from: string | undefined;
  to: string | undefined;
  runs: readonly string[];
}

async function copyBetween({ from, to, runs }: Copying, invocation: Invocation): Promise<number> {
  const [source, target] = [openAt(from, invocation), openAt(to, invocation)];
  if (source.location === target.location) throw new UsageError(`${source.location} is both stores`);
  const choice = runs.length === 0 ? { documents: documentFolders } : await choiceOf(source, runs);
  const copied = await copyStore(source, target, choice);
  const { terminal, json } = invocation;
  if (json) terminal.out(`${JSON.stringify({ from: source.location, to: target.location, ...copied })}\n`);
  else terminal.out(describe(copied, target.location));
  return copied.conflicts.length === 0 ? exitCodes.ok : exitCodes.failed;
}

function openAt(place: string | undefined, { env, cwd }: Invocation): Store {
  return openHomeStore(homePaths(place === undefined ? env : { ...env, FRETSAW_STORE: place }, cwd));
}

/** All that is neither bytes nor a record: what was asked for, tried, imported, run. */
const documentFolders = ['keys/', 'attempts/', 'imports/', 'divergent/', 'runs/'] as const;

/** What runs made and read: every stage that ended well, with its key's documents. */
async function choiceOf(store: Store, names: readonly string[]): Promise<CopyChoice> {
  const runs = await Promise.all(names.map((name) => findRun(store, name)));
  const stages = runs.flatMap(({ finished }) => finished?.stages ?? []);
  const keys = stages.flatMap(({ key }) => (key === undefined ? [] : [key]));
  const artifacts = new Set<Digest>(
    stages.flatMap(({ outputs }) => Object.values(outputs ?? {}).map(({ digest }) => digest)),
  );
  const ofKeys = keys.flatMap((key) => [`keys/${key.slice(7)}`, `attempts/${key.slice(7)}/`]);
  const ofArtifacts = [...artifacts].map((digest) => `imports/${digest.slice(7)}`);
  const ofRuns = runs.map(({ started }) => `runs/${started.run}/`);
  return { keys, artifacts: [...artifacts], documents: [...ofKeys, ...ofArtifacts, ...ofRuns] };
}

function describe({ artifacts, records, documents, conflicts }: Copied, to: string): string {
  const lines = [
    `to ${to}`,
    `  artifacts  ${artifacts.copied} copied (${sizeText(artifacts.sizeBytes)}), ${artifacts.there} there already`,
    `  documents  ${documents.copied} copied, ${documents.there} there already`,
    `  records    ${records.copied} copied, ${records.there} there already`,
    ...conflicts.map(
      ({ key, generation }) => `  ${key}: generation ${generation} is another one there, and holds there`,
    ),
  ];
  return `${lines.join('\n')}\n`;
}
