import { Context } from '@temporalio/activity';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BindRequest, Bound } from '../../activities/bind-stages.ts';
import type { FinishedRun } from '../../activities/finish-run.ts';
import type { Activities } from '../../activities/index.ts';
import type { Act, News, RunRequest, RunSummary } from '../../activities/run-request.ts';
import type { StageOutcome, StageRequest } from '../../activities/stage-request.ts';
import { artifact, keyOf, queue, runRequest, stageRequest, WorkflowRig } from '../support/workflow-rig.ts';

let rig: WorkflowRig;
beforeAll(async () => {
  rig = await WorkflowRig.open();
}, 120_000);
afterAll(async () => {
  await rig.close();
});

type RunPipeline = (request: RunRequest) => Promise<RunSummary>;
let count = 0;

function start(request: RunRequest) {
  return rig.env.client.workflow.start<RunPipeline>('runPipeline', {
    workflowId: `run-${++count}`,
    taskQueue: queue,
    args: [request],
  });
}

/** Stage -> the stages it reads. */
type Shape = Readonly<Record<string, readonly string[]>>;

interface Fake {
  activities: Partial<Activities>;
  /** In the order in which they were waited for. */
  awaited: string[];
  bound: BindRequest[];
  left: string[];
  words: [stage: string, word: string][];
  acts: Act[];
  news: News[];
  mostAtOnce: () => number;
  finished: FinishedRun[];
}

interface Options {
  cached?: string[];
  /** Binding goes on behind what is cached, as the real one does; whatever is bound a second time is there by then. */
  goesOnBehindHits?: boolean;
  failing?: string[];
  /** Waiting ends only by being cancelled; `'first'`: the first time. */
  hang?: boolean | 'first';
  approve?: string;
  gpus?: number;
  /** What measuring finds, each time. */
  spent?: number[];
}

/** Activities that know a graph, have some stages already, and let some fail. */
function fakes(shape: Shape, options: Options = {}): Fake {
  const names = Object.keys(shape);
  const fake: Fake = {
    activities: {},
    ...{ awaited: [], bound: [], left: [], words: [], acts: [], news: [], finished: [] },
    mostAtOnce: () => most,
  };
  let [now, most, waits] = [0, 0, 0];
  const seen = new Set<string>();
  const outcomeOf = (request: StageRequest): StageOutcome =>
    options.failing?.includes(request.stage) === true
      ? { kind: 'failed', key: request.key, code: 'NAN_LOSS', message: 'loss is NaN', attempts: 1 }
      : { kind: 'ran', key: request.key, outputs: { out: artifact(request.stage) }, attempts: 1 };
  fake.activities = {
    loadGraph: async () => ({
      stages: names.map((name) => ({
        name,
        after: (shape[name] ?? []).map((before) => names.indexOf(before)),
      })),
    }),
    bindStages: async (request): Promise<Bound> => {
      fake.bound.push(request);
      const isHit = (name: string): boolean =>
        options.cached?.includes(name) === true || (options.goesOnBehindHits === true && seen.has(name));
      const ready = [...request.ready];
      if (options.goesOnBehindHits === true)
        for (const hit of ready.filter(isHit))
          ready.push(...names.filter((name) => shape[name]?.includes(hit) === true));
      const answer = {
        hits: ready
          .filter(isHit)
          .map((name) => ({ name, key: keyOf(name), outputs: { out: artifact(name) } })),
        requests: ready
          .filter((name) => !isHit(name))
          .map((name) =>
            stageRequest(name, {
              ...(options.approve === name ? { approve: 'really?' } : {}),
              ...(options.gpus === undefined ? {} : { resources: { cpus: 1, gpus: options.gpus } }),
            }),
          ),
        failed: [],
      };
      for (const name of ready) seen.add(name);
      return answer;
    },
    awaitStages: async (requests) => {
      fake.awaited.push(...requests.map(({ stage }) => stage));
      waits++;
      if (options.hang === true || (options.hang === 'first' && waits === 1)) {
        const timer = setInterval(() => {
          Context.current().heartbeat();
        }, 50);
        await Context.current().cancelled.finally(() => {
          clearInterval(timer);
        });
      }
      now += requests.length;
      most = Math.max(most, now);
      await new Promise((resolve) => setTimeout(resolve, 20));
      now -= requests.length;
      return { ended: requests.map((request) => [request.stage, outcomeOf(request)]) };
    },
    leaveStages: async (requests) => void fake.left.push(...requests.map(({ stage }) => stage)),
    tellStage: async ({ request, word }) => {
      fake.words.push([request.stage, word]);
      return true;
    },
    noteAct: async ({ act }) => void fake.acts.push(act),
    notify: async ({ news }) => void fake.news.push(news),
    measureSpent: async () => options.spent?.shift() ?? 0,
    finishRun: async (run) => void fake.finished.push(run),
  };
  return fake;
}

const diamond: Shape = { a: [], b: ['a'], c: ['a'], d: ['b', 'c'] };

test('a stage starts when all that it reads is made, and is told what that was', async () => {
  const fake = fakes(diamond);
  const summary = await rig.serve(fake.activities, async () => (await start(runRequest())).result());
  expect(summary).toMatchObject({ state: 'done', counts: { ran: 4 }, problems: [] });
  expect(fake.awaited).toEqual(['a', 'b', 'c', 'd']);
  expect(fake.bound.at(-1)).toMatchObject({
    ready: ['d'],
    known: [
      ['b', { out: artifact('b') }],
      ['c', { out: artifact('c') }],
    ],
  });
  expect(fake.finished[0]?.outcomes.map(([name]) => name)).toEqual(['a', 'b', 'c', 'd']);
});

test('what the store has is not waited for', async () => {
  const fake = fakes(diamond, { cached: ['a', 'b', 'c'] });
  const summary = await rig.serve(fake.activities, async () => (await start(runRequest())).result());
  expect(summary).toMatchObject({ counts: { cached: 3, ran: 1 } });
  expect(fake.awaited).toEqual(['d']);
});

test('a stage that was bound behind a hit is bound once, and waited for once', async () => {
  const fake = fakes(diamond, { cached: ['a'], goesOnBehindHits: true });
  const summary = await rig.serve(fake.activities, async () => (await start(runRequest())).result());
  expect(summary).toMatchObject({ state: 'done', counts: { cached: 1, ran: 3 } });
  expect(fake.bound.map(({ ready }) => ready)).toEqual([['a'], ['d']]);
  expect(fake.awaited).toEqual(['b', 'c', 'd']);
});

test('a failed stage blocks all that comes of it, by its name, and nothing else', async () => {
  const fake = fakes({ ...diamond, e: ['d'], f: [] }, { failing: ['b'] });
  const summary = await rig.serve(fake.activities, async () => (await start(runRequest())).result());
  expect(summary).toMatchObject({ state: 'failed', counts: { ran: 3, failed: 1, blocked: 2 } });
  expect(new Map(summary.problems).get('e')).toEqual({ kind: 'blocked', by: 'b' });
  expect(fake.awaited).toEqual(['a', 'f', 'b', 'c']);
});

test('no more stages are in flight than the cap allows', async () => {
  const wide = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`s${index}`, []]));
  const fake = fakes(wide);
  const summary = await rig.serve(fake.activities, async () =>
    (await start(runRequest({ maxInFlight: 7 }))).result(),
  );
  expect(summary.counts.ran).toBe(30);
  expect(fake.mostAtOnce()).toBe(7);
});

test('a cancelled run ends as cancelled, with what it had written down', async () => {
  const fake = fakes(diamond, { hang: true });
  const summary = await rig.serve(fake.activities, async () => {
    const handle = await start(runRequest({ heartbeatSeconds: 1 }));
    await expect.poll(() => fake.awaited, { timeout: 20_000 }).toEqual(['a']);
    await handle.cancel();
    return handle.result();
  });
  expect(summary).toMatchObject({ state: 'cancelled', counts: { cancelled: 4 } });
  expect(fake.finished).toHaveLength(1);
});

let acts = 0;

type Said = Pick<Act, 'act'> & Partial<Act>;

function say(handle: Awaited<ReturnType<typeof start>>, said: Said): Promise<boolean> {
  const act = { id: `act-${++acts}`, by: 'ada', reason: 'because', at: '2026-01-01T00:00:00.000Z', ...said };
  return handle.executeUpdate<boolean, [Act]>('act', { args: [act] });
}

const patient = { timeout: 20_000 };

test('a stage with approve waits for a person, whose name and reason are noted; people are told', async () => {
  const fake = fakes(diamond, { approve: 'd' });
  const summary = await rig.serve(fake.activities, async () => {
    const handle = await start(runRequest());
    await expect
      .poll(() => fake.news, patient)
      .toEqual([{ kind: 'approval', stage: 'd', question: 'really?' }]);
    expect(await say(handle, { act: 'approve', stage: 'c' })).toBe(false);
    expect(fake.awaited).toEqual(['a', 'b', 'c']);
    expect(await say(handle, { act: 'approve', stage: 'd' })).toBe(true);
    return handle.result();
  });
  expect(summary).toMatchObject({ state: 'done', counts: { ran: 4 } });
  expect(fake.acts).toMatchObject([{ act: 'approve', stage: 'd', by: 'ada', reason: 'because' }]);
});

test('a cancelled stage takes what reads it along, and nothing else; a failed one is told', async () => {
  const fake = fakes({ ...diamond, e: [], f: ['e'] }, { hang: 'first', failing: ['e'] });
  const summary = await rig.serve(fake.activities, async () => {
    const handle = await start(runRequest({ heartbeatSeconds: 1 }));
    await expect.poll(() => fake.awaited, patient).toEqual(['a', 'e']);
    expect(await say(handle, { act: 'cancel', stage: 'a' })).toBe(true);
    await expect.poll(() => fake.left, patient).toEqual(['a']);
    return handle.result();
  });
  expect(summary.counts).toMatchObject({ cancelled: 4, failed: 1, blocked: 1 });
  expect(fake.news).toMatchObject([{ kind: 'failed', stage: 'e', code: 'NAN_LOSS' }]);
});

test('pausing tells the stages at work and starts no other; saying it again changes nothing', async () => {
  const fake = fakes({ a: [], b: [] }, { hang: 'first' });
  const summary = await rig.serve(fake.activities, async () => {
    const handle = await start(runRequest({ heartbeatSeconds: 1, maxInFlight: 1 }));
    await expect.poll(() => fake.awaited, patient).toEqual(['a']);
    expect(await say(handle, { act: 'pause', id: 'p1' })).toBe(true);
    expect(await say(handle, { act: 'pause', id: 'p1' })).toBe(false);
    expect(await say(handle, { act: 'pause' })).toBe(false);
    await expect.poll(() => fake.words, patient).toEqual([['a', 'pause']]);
    expect(await say(handle, { act: 'cancel', stage: 'a' })).toBe(true);
    await expect.poll(() => fake.left, patient).toEqual(['a']);
    expect(fake.awaited).toEqual(['a']);
    expect(await say(handle, { act: 'resume' })).toBe(true);
    return handle.result();
  });
  expect(summary.counts).toMatchObject({ cancelled: 1, ran: 1 });
  expect(fake.awaited).toEqual(['a', 'b']);
});

test('a run tells at 80 % of its budget and stops at 100 %', async () => {
  const fake = fakes({ a: [], b: ['a'] }, { hang: true, gpus: 100_000, spent: [1, 8.5, 10] });
  const request = runRequest({ heartbeatSeconds: 1, budget: { gpu_hours: 10 } });
  const summary = await rig.serve(fake.activities, async () => {
    const handle = await start(request);
    await expect.poll(() => fake.awaited, patient).toEqual(['a']);
    return handle.result();
  });
  expect(summary).toMatchObject({ state: 'failed', counts: { failed: 1, blocked: 1 } });
  expect(new Map(summary.problems).get('a')).toMatchObject({
    code: 'BUDGET_SPENT',
    message: 'the run has used 10.00 of 10 GPU hours',
  });
  expect(fake.news.filter(({ kind }) => kind === 'budget')).toHaveLength(2);
  expect(fake.left).toEqual(['a']);
});
