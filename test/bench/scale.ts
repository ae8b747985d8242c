/**
 * What the control plane adds at scale, on this machine: `npm run bench:scale -- [--stages 2000]
 * [--runs 50] [--shared 40] [--max-in-flight 64]`. A plan of many tiny commands, then many runs at once that
 * share all their stages. Exits 1 when a stage ran twice, the cap was passed or a history came near its limit.
 */
import { Client, Connection } from '@temporalio/client';
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { RunRequest, RunSummary } from '../../workflows/index.ts';
import { digestFromHex } from '../../core/digest.ts';
import { listRuns, readStarted, writeRunStarted } from '../../lineage/run.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import { joinClients, leaveClients } from '../../workers/clients.ts';
import { findServer } from '../../workers/embedded-server.ts';
import { homePathsAt } from '../../workers/home.ts';
import { CliRig } from '../support/cli-rig.ts';

const historyLimit = 51_200;
const layerWidth = 20;
const { values } = parseArgs({
  options: {
    stages: { type: 'string', default: '2000' },
    runs: { type: 'string', default: '50' },
    shared: { type: 'string', default: '40' },
    'max-in-flight': { type: 'string', default: '64' },
  },
});
/** A busy machine loses no worker by it. */
const patient = { FRETSAW_HEARTBEAT_SECONDS: '60', FRETSAW_LEASE_SECONDS: '120' };
const cap = Number(values['max-in-flight']);
const faults: string[] = [];

/** Each stage notes in `at` when it begins and ends, so that the most at once can be counted. */
function spec(folder: string, count: number, seconds: number): string {
  const stages = Array.from({ length: count }, (_, index) => {
    const from = index < layerWidth ? '' : `inputs: { a: s${index - layerWidth}.out }, `;
    const script = `echo + ${index} >> ${folder}/at; sleep ${seconds}; echo ${index} > "$1"/x; echo - ${index} >> ${folder}/at`;
    return `  s${index}: { kind: command, ${from}with: { argv: [sh, -c, '${script}', sh, "{out}"], outputs: { out: out } } }\n`;
  });
  return `fretsaw: v1\nname: scale\nstages:\n${stages.join('')}`;
}

async function manyStages(count: number): Promise<void> {
  const rig = await CliRig.open();
  try {
    rig.write('a.yaml', spec(rig.folder, count, 0));
    const alone = aloneMs(rig);
    const memory = new Load(rig);
    const startedAt = performance.now();
    const run = rig.start(['run', 'a.yaml', '--json', '--max-in-flight', String(cap)], patient);
    const histories = await followHistories(rig, run.ended);
    const { code } = await run.ended;
    const seconds = (performance.now() - startedAt) / 1000;
    if (code !== 0) faults.push(`${count} stages: exit ${String(code)}`);
    check(rig, count);
    const each = (seconds / count) * 1000;
    console.log(
      `${count} stages: ${seconds.toFixed(1)} s, ${each.toFixed(1)} ms a stage in all (sh alone takes ${alone.toFixed(1)} ms); ` +
        `${memory.text(count)}; run history at most ${histories.longest} events, ${histories.parts} parts`,
    );
    if (histories.longest > historyLimit / 2) faults.push(`a history of ${histories.longest} events`);
  } finally {
    await rig.close();
  }
}

async function manyRuns(runs: number, stages: number): Promise<void> {
  const rig = await CliRig.open();
  const { clients } = homePathsAt(rig.home);
  try {
    rig.write('a.yaml', spec(rig.folder, stages, 0.2));
    // The home's server and worker stay while any of its clients does.
    joinClients(clients);
    const memory = new Load(rig);
    const startedAt = performance.now();
    const keeper = rig.start(['run', 'a.yaml', '--json'], patient);
    const ends = await startOthers(rig, runs - 1);
    const { code } = await keeper.ended;
    const seconds = (performance.now() - startedAt) / 1000;
    const bad = ends.filter(({ state }) => state !== 'done').length + (code === 0 ? 0 : 1);
    if (bad > 0) faults.push(`${bad} of ${runs} runs ended badly`);
    check(rig, stages);
    console.log(
      `${runs} runs at once of ${stages} shared stages: ${seconds.toFixed(1)} s; ${begunOf(rig)} stages began; ${memory.text(stages)}`,
    );
  } finally {
    leaveClients(clients);
    await rig.close();
  }
}

/** Runs of the same plan that no command line follows, started beside the first. */
async function startOthers(rig: CliRig, count: number): Promise<RunSummary[]> {
  const store = openDiskStore({ home: rig.home, domain: 'local', trusted: [] });
  await rig.until(() => rig.lines('at').length > 0, 120);
  const [first = ''] = await listRuns(store.documents);
  const plan = await store.documents.read(`runs/${first}/plan`);
  const started = await readStarted(store.documents, first);
  if (plan === undefined || started === undefined) throw new Error('bug: the first run has no plan');
  const client = await clientOf(rig);
  const planDigest = digestFromHex(createHash('sha256').update(plan).digest('hex'));
  const results = Array.from({ length: count }, async (_, index) => {
    const run = `${first.slice(0, 15)}-b${String(index).padStart(3, '0')}`;
    await store.documents.create(`runs/${run}/plan`, plan);
    await writeRunStarted(store.documents, { ...started, run, host: hostname() });
    const request: RunRequest = {
      run,
      spec: 'scale',
      planDigest,
      maxInFlight: cap,
      heartbeatSeconds: 60,
      leaseSeconds: 120,
      queues: { control: 'control', waiters: 'control' },
    };
    return await client.workflow.execute<(request: RunRequest) => Promise<RunSummary>>('runPipeline', {
      workflowId: `run-${run}`,
      taskQueue: 'control',
      args: [request],
    });
  });
  return await Promise.all(results);
}

/** The longest history of the run, and how many parts continue-as-new cut it into. */
async function followHistories(
  rig: CliRig,
  ended: Promise<unknown>,
): Promise<{ longest: number; parts: number }> {
  const parts = new Map<string, number>();
  const over = { is: false };
  void ended.then(() => (over.is = true));
  while (!over.is) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    try {
      const client = await clientOf(rig);
      for await (const one of client.workflow.list({ query: "WorkflowType = 'runPipeline'" })) {
        const { historyLength } = await client.workflow.getHandle(one.workflowId, one.runId).describe();
        parts.set(one.runId, Math.max(parts.get(one.runId) ?? 0, historyLength));
      }
      await client.connection.close();
    } catch {
      // The server is not up yet, or not any more.
    }
  }
  return { longest: Math.max(0, ...parts.values()), parts: parts.size };
}

async function clientOf(rig: CliRig): Promise<Client> {
  const port = findServer(join(rig.home, 'temporal'))?.port ?? 0;
  return new Client({ connection: await Connection.connect({ address: `127.0.0.1:${port}` }) });
}

function begunOf(rig: CliRig): number {
  return rig.lines('at').filter((line) => line.startsWith('+')).length;
}

/** Every stage once, and never more at once than the cap. */
function check(rig: CliRig, count: number): void {
  const lines = rig.lines('at');
  const begun = lines.filter((line) => line.startsWith('+'));
  if (begun.length !== count || new Set(begun).size !== count)
    faults.push(`${begun.length} starts of ${count} stages`);
  let [now, most] = [0, 0];
  for (const line of lines) {
    now += line.startsWith('+') ? 1 : -1;
    most = Math.max(most, now);
  }
  if (most > cap) faults.push(`${most} stages at once, the cap is ${cap}`);
}

/** The stage's own work, without anything of ours: milliseconds. */
function aloneMs(rig: CliRig): number {
  const startedAt = performance.now();
  for (let n = 0; n < 50; n++) execFileSync('sh', ['-c', `sleep 0; echo 1 > ${rig.folder}/one`]);
  return (performance.now() - startedAt) / 50;
}

/** Peak resident memory and CPU time of worker and server, looked at while they live. */
class Load {
  readonly #peaksMib = { worker: 0, server: 0 };
  readonly #cpuSeconds = { worker: 0, server: 0 };
  readonly #timer: NodeJS.Timeout;

  constructor(rig: CliRig) {
    this.#timer = setInterval(() => {
      this.#look('worker', rig.worker()?.pid);
      this.#look('server', rig.server()?.pid);
    }, 500);
  }

  text(stages: number): string {
    clearInterval(this.#timer);
    const part = (name: 'worker' | 'server'): string =>
      `${name} ${((this.#cpuSeconds[name] / stages) * 1000).toFixed(1)} ms CPU a stage, peak ${this.#peaksMib[name].toFixed(0)} MiB`;
    return `${part('worker')}; ${part('server')}`;
  }

  #look(name: 'worker' | 'server', pid: number | undefined): void {
    if (pid === undefined) return;
    const peak = Number(/VmHWM:\s+(\d+)/.exec(readProc(pid, 'status'))?.[1] ?? 0) / 1024;
    this.#peaksMib[name] = Math.max(this.#peaksMib[name], peak);
    // proc(5): utime and stime are fields 14 and 15, counted behind the name in brackets, in ticks of 10 ms.
    const fields = readProc(pid, 'stat').split(') ').at(-1)?.split(' ') ?? [];
    const seconds = (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / 100;
    this.#cpuSeconds[name] = Math.max(this.#cpuSeconds[name], seconds);
  }
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

await manyStages(Number(values.stages));
await manyRuns(Number(values.runs), Number(values.shared));
for (const fault of faults) console.log(`WRONG: ${fault}`);
process.exit(faults.length === 0 ? 0 : 1);
