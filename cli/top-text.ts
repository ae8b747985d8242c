import type { Terminal } from './command.ts';
import { paint } from './paint.ts';
import { describeSeconds } from './progress.ts';
import { columns } from './table.ts';
import type { TopPool, TopRun, TopSnapshot, TopStage } from './top-snapshot.ts';

/** Runs, pools and stages at work, as lines. */
export function topText(snapshot: TopSnapshot, terminal: Pick<Terminal, 'hasColor'>): string[] {
  const { runs, pools, stages, elsewhere, at } = snapshot;
  const title = `${timeOf(at)}  ${runs.length} runs at work, ${stages.length} stages not over`;
  const others = elsewhere === 0 ? [] : [`${elsewhere} runs of other stores are at work here too`];
  if (runs.length === 0) return [title, ...others];
  return [
    title,
    ...others,
    '',
    ...table(runHeads, runs.map(runCells), terminal),
    '',
    ...table(
      poolHeads,
      pools.map((pool) => poolCells(pool, at)),
      terminal,
    ),
    '',
    ...table(
      stageHeads,
      stages.map((stage) => stageCells(stage, at)),
      terminal,
    ),
  ];
}

const runHeads = ['run', 'spec', 'state', 'stages'];
const poolHeads = ['pool', 'workers', 'running', 'waiting', 'longest wait'];
const stageHeads = [
  'run',
  'stage',
  'state',
  'step',
  'rate',
  'loss',
  'left',
  'attempt',
  'pool',
  'host',
  'since',
];

function runCells({ run, spec, state, stages, ended }: TopRun): string[] {
  return [run, spec, state, `${ended}/${stages}`];
}

function poolCells({ pool, workers, running, queued, since }: TopPool, at: Date): string[] {
  return [pool, String(workers), String(running), String(queued), sinceText(since, at)];
}

function stageCells(line: TopStage, at: Date): string[] {
  const { run, stage, state, step, total, unit, rate, loss, secondsLeft, attempt, pool, host, since } = line;
  return [
    run.slice(-4),
    stage,
    state === 'queued' ? `waits for pool ${pool}` : state,
    step === null ? '-' : `${step}/${total ?? 0} ${unit ?? ''}`,
    rate === null ? '-' : `${rate < 10 ? rate.toFixed(1) : Math.round(rate)}/s`,
    loss === null ? '-' : loss.toPrecision(4),
    secondsLeft === null ? '-' : describeSeconds(secondsLeft),
    attempt === null ? '-' : String(attempt),
    pool,
    host ?? '-',
    sinceText(since, at),
  ];
}

/** `14:02:11Z (3m 5s)` */
function sinceText(since: Date | null, at: Date): string {
  return since === null
    ? '-'
    : `${timeOf(since)} (${describeSeconds((at.getTime() - since.getTime()) / 1000)})`;
}

function timeOf(time: Date): string {
  return `${time.toISOString().slice(11, 19)}Z`;
}

function table(heads: readonly string[], rows: string[][], terminal: Pick<Terminal, 'hasColor'>): string[] {
  const text = columns(
    [heads, ...rows],
    heads.map(() => 'left' as const),
  );
  const [head = '', ...lines] = text.trimEnd().split('\n');
  return [paint(terminal, 'dim', head), ...lines];
}
