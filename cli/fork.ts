import { existsSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { stringify } from 'yaml';
import { compile } from '../compiler/compile.ts';
import type { PlannedStage } from '../compiler/plan.ts';
import { sha256Text } from '../store/sha256.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { findRun, type StoredRun } from './find-run.ts';
import { specReader } from './spec-files.ts';

/**
 * Writes a new spec that begins as a run's: it extends the same file, with the imports pinned to what
 * the run had, so that all that the run made is a hit until something is changed.
 */
export const command: Command = {
  async run(invocation) {
    const { positionals } = parseArgs({ args: invocation.args, allowPositionals: true, options: {} });
    const [name, target, ...more] = positionals;
    if (name === undefined || target === undefined || more.length > 0)
      throw new UsageError('expected a run (or `last`) and the new spec file');
    const path = resolve(invocation.cwd, target);
    if (existsSync(path)) throw new UsageError(`${target} exists already`);
    const store = openHomeStore(homePaths(invocation.env, invocation.cwd));
    const run = await findRun(store, name);
    writeFileSync(path, forkText(run, path, invocation.cwd));
    tell(run, { target, path, invocation });
    return exitCodes.ok;
  },
};

function forkText({ started, plan }: StoredRun, path: string, cwd: string): string {
  const { name, profile } = started.spec;
  const parent = relative(dirname(path), resolve(cwd, started.spec.path));
  const inputs = Object.fromEntries(plan.stages.flatMap(pinOf));
  const body = {
    fretsaw: 'v1',
    name: basename(path).replace(/\.ya?ml$/, ''),
    extends: parent.startsWith('.') ? parent : `./${parent}`,
    ...(Object.keys(inputs).length === 0 ? {} : { inputs }),
  };
  const from = profile === null ? name : `${name}, profile ${profile}`;
  const how = profile === null ? '' : `; run it with --profile ${profile}`;
  return `# A fork of run ${started.run} (${from})${how}.\n# What is changed here is made anew with all that reads it; the rest is taken from the store.\n${stringify(body)}`;
}

function pinOf({ kind, name, with: settings }: PlannedStage): [string, { digest: string }][] {
  const digest = settings['digest'];
  return kind === 'import' && typeof digest === 'string' ? [[name, { digest }]] : [];
}

interface Written {
  target: string;
  path: string;
  invocation: Invocation;
}

/** Whether the file that it extends is still what the run had. */
function tell({ started, plan }: StoredRun, { target, path, invocation }: Written): void {
  const { terminal, cwd, json } = invocation;
  const now = compile(relative(cwd, path) || path, {
    readSpec: specReader(cwd),
    sha256: sha256Text,
    profile: started.spec.profile ?? undefined,
    absolute: (local) => resolve(cwd, local),
  });
  const asked = (stages: readonly PlannedStage[]): string =>
    JSON.stringify(
      stages.map(({ name, kind, with: settings, inputs }) => ({ name, kind, settings, inputs })),
    );
  const isSame = now.ok && asked(now.value.stages) === asked(plan.stages);
  const note = isSame
    ? 'it asks for what the run asked for'
    : `${join(started.spec.path)} has changed since the run: see fretsaw plan ${target}`;
  if (json) terminal.out(`${JSON.stringify({ run: started.run, spec: target, isSame })}\n`);
  else terminal.out(`${target}: ${note}\n`);
}
