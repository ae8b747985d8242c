import { parseArgs } from 'node:util';
import { hexOf, shortDigest } from '../core/digest.ts';
import type { StageKey } from '../core/keys.ts';
import { listActs, type ActPredicate } from '../lineage/act.ts';
import { listAttempts, type AttemptPredicate } from '../lineage/attempt.ts';
import type { RunFinished } from '../lineage/run.ts';
import { wasteOf, type Waste } from '../lineage/waste.ts';
import type { Store } from '../store/store.ts';
import { homePaths, openHomeStore, type HomePaths } from '../workers/home.ts';
import type { StageState } from '../workflows/index.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { findRun, keysOfRun, type StoredRun } from './find-run.ts';
import { liveRuns } from './live-states.ts';
import { paint } from './paint.ts';
import { wasteText } from './waste-text.ts';
import { describePoolWait } from './pool-queues.ts';
import { describeProgress, readStageProgress } from './progress.ts';

interface ShownStage {
  stage: string;
  kind: string;
  state: string;
  key: StageKey | null;
  outputs: { [name: string]: string };
  attempts: AttemptPredicate[];
  waste: Waste;
  /** Last lines of the newest attempt's log, when it failed. */
  log: string[];
  progress: string;
  failure?: Exclude<EndedStage['failure'], undefined>;
  blockedBy?: string;
}

type EndedStage = RunFinished['stages'][number];

/** One run: its stages with attempts and outputs, and of what failed the reason and the last lines of its log. */
export const command: Command = {
  async run(invocation) {
    const { positionals } = parseArgs({ args: invocation.args, allowPositionals: true, options: {} });
    const [name, ...more] = positionals;
    if (name === undefined || more.length > 0) throw new UsageError('expected one run, or `last`');
    const paths = homePaths(invocation.env, invocation.cwd);
    const store = openHomeStore(paths);
    const run = await findRun(store, name);
    const stages = await showStages({ invocation, paths, store, run });
    const state =
      run.finished?.state ?? (stages.some((stage) => stage.state === 'running') ? 'running' : 'not ended');
    const acts = await listActs(store.documents, run.started.run);
    if (invocation.json)
      invocation.terminal.out(`${JSON.stringify({ ...run.started, state, stages, acts })}\n`);
    else invocation.terminal.out(render(run, { state, stages, acts, invocation }));
    return exitCodes.ok;
  },
};

interface Showing {
  invocation: Invocation;
  paths: HomePaths;
  store: Store;
  run: StoredRun;
}

async function showStages({ invocation, paths, store, run }: Showing): Promise<ShownStage[]> {
  const keys = new Map(await keysOfRun(store, run, invocation.installation.root));
  const live = run.finished === undefined ? await liveRuns(invocation, paths) : undefined;
  const states = await live?.states(run.started.run);
  const ended = new Map(run.finished?.stages.map((stage) => [stage.stage, stage]));
  const shown = await Promise.all(
    run.plan.stages.map(async ({ name, kind, pool }) => {
      const now = states?.get(name);
      const key = keyNow(now) ?? keys.get(name) ?? null;
      const end = ended.get(name);
      const state = end?.outcome ?? now?.kind;
      const found = await showKey({ store, work: paths.work, key, state });
      const stage = { stage: name, kind, key, ...found, ...reasonOf(end) };
      const wait = now?.kind === 'running' ? await live?.wait({ key: now.key, pool }) : undefined;
      return wait === undefined ? stage : { ...stage, progress: describePoolWait(wait) };
    }),
  );
  await live?.close();
  return shown;
}

function keyNow(state: StageState | undefined): StageKey | undefined {
  return state !== undefined && 'key' in state ? state.key : undefined;
}

/** Why it came to nothing. Of a failed attempt its own line says more. */
function reasonOf(end: EndedStage | undefined): Pick<ShownStage, 'failure' | 'blockedBy'> {
  const { failure, blockedBy } = end ?? {};
  return { ...(failure === undefined ? {} : { failure }), ...(blockedBy === undefined ? {} : { blockedBy }) };
}

interface KeyAtWork {
  store: Store;
  work: string;
  key: StageKey | null;
  state: string | undefined;
}

const unknown = { outputs: {}, attempts: [], waste: wasteOf([], []), log: [], progress: '' };

/** What the store and this host's job folders say about a key. */
async function showKey({
  store,
  work,
  key,
  state,
}: KeyAtWork): Promise<Omit<ShownStage, 'stage' | 'kind' | 'key'>> {
  if (key === null) return { ...unknown, state: state ?? 'waiting' };
  const attempts = await listAttempts(store.documents, key);
  const last = attempts.at(-1);
  const snapshots = attempts.length > 1 ? await store.snapshots.list(key) : [];
  return {
    state: state ?? (last?.outcome === 'done' ? 'done' : 'waiting'),
    outputs: Object.fromEntries(
      Object.entries(last?.outputs ?? {}).map(([output, { digest }]) => [output, digest]),
    ),
    attempts,
    waste: wasteOf(attempts, snapshots),
    log: lastLinesOf(last),
    progress: state === 'running' ? describeProgress(readStageProgress(work, hexOf(key)), null) : '',
  };
}

function reasonText({ failure, blockedBy, attempts }: ShownStage): string {
  if (blockedBy !== undefined) return `by ${blockedBy}`;
  const isSaid = attempts.at(-1)?.failure?.code === failure?.code;
  return failure === undefined || isSaid ? '' : `${failure.code}: ${failure.message}`;
}

function lastLinesOf(attempt: AttemptPredicate | undefined): string[] {
  return attempt?.outcome === 'failed' ? (attempt.lastLines ?? []).slice(-10) : [];
}

interface Shown {
  state: string;
  stages: readonly ShownStage[];
  acts: readonly ActPredicate[];
  invocation: Invocation;
}

function render({ started, finished }: StoredRun, { state, stages, acts, invocation }: Shown): string {
  const { terminal } = invocation;
  const width = Math.max(...stages.map(({ stage }) => stage.length));
  const lines = [
    `run ${started.run}: ${state}`,
    `spec ${started.spec.name}${started.spec.profile === null ? '' : `, profile ${started.spec.profile}`} (${started.spec.path})`,
    `started ${started.startedAt} on ${started.host}${finished === undefined ? '' : `, ended ${finished.finishedAt}`}`,
    ...(started.recompute === undefined
      ? []
      : [`recompute ${started.recompute.stage}: ${started.recompute.reason}`]),
    ...acts.map(describeAct),
    '',
  ];
  for (const stage of stages) {
    const outputs = Object.entries(stage.outputs)
      .map(([name, digest]) => `${name} ${shortDigest(digest)}`)
      .join('  ');
    lines.push(
      `${stage.stage.padEnd(width)}  ${stage.state.padEnd(9)}  ${stage.progress}${outputs}${reasonText(stage)}`.trimEnd(),
    );
    const isTroubled =
      stage.attempts.length > 1 || stage.attempts.some(({ outcome }) => outcome === 'failed');
    if (isTroubled) {
      lines.push(...stage.attempts.map((attempt) => `    ${describeAttempt(attempt)}`));
      lines.push(`    ${wasteText(stage.waste)}`);
    }
    lines.push(...stage.log.map((line) => paint(terminal, 'dim', `    | ${line}`)));
  }
  return `${lines.join('\n')}\n`;
}

function describeAct({ act, stage, by, reason, at }: ActPredicate): string {
  return `${act}${stage === undefined ? '' : ` ${stage}`} by ${by} at ${at}${reason === '' ? '' : `: ${reason}`}`;
}

function describeAttempt({
  attempt,
  host,
  startedAt,
  finishedAt,
  failure,
  resumedFrom,
}: AttemptPredicate): string {
  const seconds = ((Date.parse(finishedAt) - Date.parse(startedAt)) / 1000).toFixed(1);
  const from = resumedFrom === undefined ? '' : `, from the snapshot of step ${resumedFrom.step}`;
  const how = failure === undefined ? 'done' : `${failure.code}: ${failure.message}`;
  return `attempt ${attempt} on ${host}, ${seconds} s${from}: ${how}`;
}
