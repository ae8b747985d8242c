import { userInfo } from 'node:os';
import { parseArgs } from 'node:util';
import { bindKey } from '../compiler/bind.ts';
import { hexOf, shortDigest } from '../core/digest.ts';
import { Failure } from '../core/errors.ts';
import type { KeyDocument, StageKey } from '../core/keys.ts';
import { acceptRecord } from '../lineage/accept.ts';
import type { Store } from '../store/store.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { kindVersions } from '../workers/kind-versions.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { printDiagnostics } from './diagnostics.ts';
import { loadPlan, parseParam, type SpecChoice } from './load-plan.ts';
import { pinLocalImports } from './pin-imports.ts';
import { resolvePlan } from './resolve-plan.ts';

interface AcceptChoice extends SpecChoice {
  record: string;
  spec: string;
  stage: string;
  reason: string;
  by: string;
}

/** By a person's word, an old record's outputs count for a stage that now has another key. */
export const command: Command = {
  async run(invocation) {
    const choice = parseChoice(invocation.args);
    const document = await documentOf(choice, invocation);
    if (document === undefined) return exitCodes.usage;
    const store = openHomeStore(homePaths(invocation.env, invocation.cwd));
    const from = await findKey(store, choice.record);
    const { stage, reason, by } = choice;
    const at = new Date().toISOString();
    const record = await acceptRecord(store, { from, document, stage, run: 'none', by, reason, at });
    const { terminal, json } = invocation;
    if (json)
      terminal.out(
        `${JSON.stringify({ from, key: record.key, generation: record.generation, by, reason })}\n`,
      );
    else
      terminal.out(
        `${stage} (${shortDigest(record.key)}) is what ${shortDigest(from)} made, by ${by}: ${reason}\n`,
      );
    return exitCodes.ok;
  },
};

/** What the stage asks for now; all that it reads must be made. */
async function documentOf(choice: AcceptChoice, invocation: Invocation): Promise<KeyDocument | undefined> {
  const loaded = loadPlan(choice.spec, choice, invocation);
  if (!loaded.ok) {
    printDiagnostics(loaded.error, invocation);
    return undefined;
  }
  const paths = homePaths(invocation.env, invocation.cwd);
  const plan = await pinLocalImports(loaded.value, paths.root);
  const stage = plan.stages.find(({ name }) => name === choice.stage);
  if (stage === undefined) throw new UsageError(`--for: the spec has no stage ${choice.stage}`);
  const { versions } = kindVersions(
    invocation.installation.root,
    new Set(plan.stages.map(({ kind }) => kind)),
  );
  const { hits } = await resolvePlan(plan, openHomeStore(paths), versions);
  return bindKey(
    stage,
    (source) => {
      const ref = hits.get(source.stage)?.outputs[source.output];
      if (ref !== undefined) return ref.digest;
      throw new Failure(
        'BAD_INPUT',
        `${choice.stage} reads ${source.stage}.${source.output}, which is not made yet`,
      );
    },
    versions,
  );
}

/** A key by its first hex digits. */
async function findKey(store: Store, text: string): Promise<StageKey> {
  const wanted = text.replace(/^sha256:/, '');
  const found = (await store.records.keys()).filter((key) => hexOf(key).startsWith(wanted));
  const [key, another] = found;
  if (key === undefined || wanted.length < 6)
    throw new Failure('NOT_FOUND', `no record's key begins with ${text}`, { retryable: false });
  if (another !== undefined) throw new UsageError(`${text} may be ${found.map(shortDigest).join(' or ')}`);
  return key;
}

function parseChoice(args: string[]): AcceptChoice {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      for: { type: 'string' },
      spec: { type: 'string' },
      profile: { type: 'string' },
      param: { type: 'string', multiple: true, default: [] },
      reason: { type: 'string' },
      by: { type: 'string' },
    },
  });
  const [record, ...more] = positionals;
  const { for: stage, spec, reason, profile } = values;
  if (record === undefined || more.length > 0) throw new UsageError('expected the key of one record');
  if (stage === undefined || spec === undefined || reason === undefined || reason === '')
    throw new UsageError('--spec <file>, --for <stage> and --reason <text> are required: the reason is kept');
  return {
    ...{ record, spec, stage, reason },
    by: values.by ?? userInfo().username,
    params: Object.fromEntries(values.param.map(parseParam)),
    ...(profile === undefined ? {} : { profile }),
  };
}
