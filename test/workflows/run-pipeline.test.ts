import { Context } from '@temporalio/activity';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BindRequest, Bound } from '../../activities/bind-stages.ts';
import type { FinishedRun } from '../../activities/finish-run.ts';
import type { Activities } from '../../activities/index.ts';
import type { RunRequest, RunSummary } from '../../activities/run-request.ts';
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
  mostAtOnce: () => number;
  finished: FinishedRun[];
}

/** Activities that know a graph, have some stages already, and let some fail. */
function fakes(shape: Shape, options: { cached?: string[]; failing?: string[]; hang?: boolean } = {}): Fake {
  const names = Object.keys(shape);
  const fake: Fake = { activities: {}, awaited: [], bound: [], mostAtOnce: () => most, finished: [] };
  let [now, most] = [0, 0];
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
      const isHit = (name: string): boolean => options.cached?.includes(name) === true;
      return {
        hits: request.ready
          .filter(isHit)
          .map((name) => ({ name, key: keyOf(name), outputs: { out: artifact(name) } })),
        requests: request.ready.filter((name) => !isHit(name)).map((name) => stageRequest(name)),
        failed: [],
      };
    },
    awaitStages: async (requests) => {
      fake.awaited.push(...requests.map(({ stage }) => stage));
      if (options.hang === true) {
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
