import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { isLocal, localPath } from '../compiler/locations.ts';
import { pinText, writtenImports, type Pin, type WrittenImport } from '../compiler/pin-text.ts';
import type { PlannedStage } from '../compiler/plan.ts';
import { shortDigest } from '../core/digest.ts';
import { homePaths } from '../workers/home.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { printDiagnostics } from './diagnostics.ts';
import { hubPin, type Fetch } from './hub-digest.ts';
import { loadPlan } from './load-plan.ts';
import { pinStages } from './pin-imports.ts';

export interface PinChoice {
  spec: string;
  /** Only inputs of these names; all when empty. */
  inputs: readonly string[];
  /** Say what would be written, and write nothing. */
  isDry: boolean;
}

/** One entry of `inputs:` and what became of it. */
export interface Pinning {
  where: string;
  location: string;
  /** `skipped` with the reason when it cannot be pinned from here. */
  outcome:
    { kind: 'pinned' | 'unchanged'; digest: string; revision?: string } | { kind: 'skipped'; reason: string };
}

/** Writes the digests and revisions that inputs have now into the spec, and touches nothing else in it. */
export const command: Command = {
  run: (invocation) =>
    pin(parseChoice(invocation.args), invocation, (url, headers) => fetch(url, { headers: { ...headers } })),
};

export async function pin(choice: PinChoice, invocation: Invocation, fetch: Fetch): Promise<number> {
  const loaded = loadPlan(choice.spec, {}, invocation);
  if (!loaded.ok) {
    printDiagnostics(loaded.error, invocation);
    return exitCodes.usage;
  }
  const path = resolve(invocation.cwd, choice.spec);
  const text = readFileSync(path, 'utf8');
  const written = writtenImports(text).filter(
    ({ name }) => choice.inputs.length === 0 || choice.inputs.includes(name),
  );
  for (const name of choice.inputs) {
    if (!written.some((entry) => entry.name === name))
      throw new UsageError(`${choice.spec} has no input ${name} of its own`);
  }
  const pinnings: Pinning[] = [];
  const pins: Pin[] = [];
  for (const entry of written) {
    const outcome = await pinOne(entry, { choice, invocation, fetch });
    pinnings.push({ where: entry.where, location: entry.location, outcome });
    if (outcome.kind === 'pinned') pins.push(...pinsOf(entry, outcome));
  }
  if (pins.length > 0 && !choice.isDry) replaceFile(path, pinText(text, pins));
  report(pinnings, choice, invocation);
  return pinnings.some(({ outcome }) => outcome.kind === 'skipped') ? exitCodes.failed : exitCodes.ok;
}

interface Around {
  choice: PinChoice;
  invocation: Invocation;
  fetch: Fetch;
}

async function pinOne(
  entry: WrittenImport,
  { choice, invocation, fetch }: Around,
): Promise<Pinning['outcome']> {
  const found = isLocal(entry.location)
    ? await localPin(entry, { choice, invocation })
    : await remotePin(entry, { invocation, fetch });
  if (found.kind === 'skipped') return found;
  const isSame = found.digest === entry.digest && (found.revision ?? entry.revision) === entry.revision;
  return isSame ? { ...found, kind: 'unchanged' } : found;
}

async function localPin(
  entry: WrittenImport,
  { choice, invocation }: Pick<Around, 'choice' | 'invocation'>,
): Promise<Pinning['outcome']> {
  const location = resolve(invocation.cwd, localPath(choice.spec, entry.location));
  const pinned = await pinStages(
    [importStage(entry, location)],
    homePaths(invocation.env, invocation.cwd).root,
  );
  const digest = pinned.get(entry.name)?.with['digest'];
  if (typeof digest !== 'string') throw new Error(`bug: ${entry.where} was not hashed`);
  return { kind: 'pinned', digest };
}

async function remotePin(
  entry: WrittenImport,
  { invocation, fetch }: Pick<Around, 'invocation' | 'fetch'>,
): Promise<Pinning['outcome']> {
  if (!entry.location.startsWith('hf:')) {
    return { kind: 'skipped', reason: 's3: has no digests to ask for; write the one that its maker gave' };
  }
  const place = { ...entry, token: invocation.env['HF_TOKEN'] };
  return { kind: 'pinned', ...(await hubPin(place, fetch)) };
}

function pinsOf({ path, digest }: WrittenImport, outcome: { digest: string; revision?: string }): Pin[] {
  const revision: Pin[] =
    outcome.revision === undefined ? [] : [{ path, key: 'revision', value: outcome.revision }];
  return [
    ...revision,
    ...(outcome.digest === digest ? [] : [{ path, key: 'digest' as const, value: outcome.digest }]),
  ];
}

/** The stage that the compiler would make of an entry, as far as hashing needs it. */
function importStage({ name, type }: WrittenImport, location: string): PlannedStage {
  return {
    name,
    kind: 'import',
    version: 1,
    with: { type, location },
    inputs: {},
    outputs: {},
    after: [],
    pool: 'default',
    resources: { cpus: 1, gpus: 0 },
    retry: { attempts: 1 },
    secrets: [],
  };
}

/** Whole or not at all: a spec that was cut short is somebody's work lost. */
function replaceFile(path: string, text: string): void {
  const partial = `${path}.${process.pid}.partial`;
  writeFileSync(partial, text);
  renameSync(partial, path);
}

function report(pinnings: readonly Pinning[], choice: PinChoice, { terminal, json }: Invocation): void {
  if (json) {
    terminal.out(`${JSON.stringify({ spec: choice.spec, isDry: choice.isDry, inputs: pinnings })}\n`);
    return;
  }
  const verb = choice.isDry ? 'would pin' : 'pinned';
  for (const { where, location, outcome } of pinnings) {
    if (outcome.kind === 'skipped') terminal.err(`${where}: ${location}: ${outcome.reason}\n`);
    else {
      const revision = outcome.revision === undefined ? '' : ` at ${outcome.revision.slice(0, 12)}`;
      const what = outcome.kind === 'pinned' ? verb : 'is already';
      terminal.out(`${where}: ${location}${revision} ${what} ${shortDigest(outcome.digest)}\n`);
    }
  }
  if (pinnings.length === 0) terminal.out(`${choice.spec} has no inputs of its own\n`);
}

function parseChoice(args: string[]): PinChoice {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { 'dry-run': { type: 'boolean', default: false } },
  });
  const [spec, ...inputs] = positionals;
  if (spec === undefined) throw new UsageError('expected a spec file, then names of inputs if not all');
  return { spec, inputs, isDry: values['dry-run'] };
}
