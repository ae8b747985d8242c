import { WorkflowFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { Context } from '@temporalio/activity';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { StageRequest, StageResult } from '../../activities/stage-request.ts';
import { toApplicationFailure } from '../../activities/to-application-failure.ts';
import { Failure, type FailureCode } from '../../core/errors.ts';
import { artifact, queue, stageRequest, WorkflowRig } from '../support/workflow-rig.ts';

let rig: WorkflowRig;
beforeAll(async () => {
  rig = await WorkflowRig.open();
}, 120_000);
afterAll(async () => {
  await rig.close();
});

type RunStage = (request: StageRequest) => Promise<StageResult>;
const outputs = { out: artifact('made') };
let count = 0;

function start(request: StageRequest) {
  return rig.env.client.workflow.start<RunStage>('runStage', {
    workflowId: `stage-${++count}`,
    taskQueue: queue,
    args: [request],
  });
}

function failing(codes: FailureCode[]): {
  tries: () => number;
  executeStage: () => Promise<{ kind: 'stored' }>;
} {
  let tries = 0;
  return {
    tries: () => tries,
    executeStage: async () => {
      const code = codes[tries++];
      if (code !== undefined) throw toApplicationFailure(new Failure(code, `try ${tries}`));
      return { kind: 'stored' };
    },
  };
}

const nothingKnown = { lookUpStage: async () => undefined };
const publish = { publishStage: async () => ({ kind: 'ran' as const, outputs, attempts: 1 }) };

test('a record that is there already is the result, and nothing is computed', async () => {
  const fake = failing([]);
  const result = await rig.serve({ ...fake, ...publish, lookUpStage: async () => outputs }, async () =>
    (await start(stageRequest('a'))).result(),
  );
  expect(result).toEqual({ kind: 'cached', outputs });
  expect(fake.tries()).toBe(0);
});

test('a failure that may pass is tried again, as often as the spec says', async () => {
  const fake = failing(['STALLED', 'TIMEOUT']);
  const result = await rig.serve({ ...fake, ...publish, ...nothingKnown }, async () =>
    (await start(stageRequest('b'))).result(),
  );
  expect(result).toMatchObject({ kind: 'ran' });
  expect(fake.tries()).toBe(3);

  const hopeless = failing(['STALLED', 'STALLED', 'STALLED', 'STALLED']);
  await expect(
    rig.serve({ ...hopeless, ...publish, ...nothingKnown }, async () =>
      (await start(stageRequest('c', { attempts: 2 }))).result(),
    ),
  ).rejects.toBeInstanceOf(WorkflowFailedError);
  expect(hopeless.tries()).toBe(2);
});

test('preemption and lost nodes are not counted', async () => {
  const fake = failing(['PREEMPTED', 'NODE_LOST', 'PREEMPTED', 'LEASE_LOST']);
  const result = await rig.serve({ ...fake, ...publish, ...nothingKnown }, async () =>
    (await start(stageRequest('d', { attempts: 1 }))).result(),
  );
  expect(result).toMatchObject({ kind: 'ran' });
  expect(fake.tries()).toBe(5);
});

test('a NaN loss fails the stage at once and keeps its code', async () => {
  const fake = failing(['NAN_LOSS']);
  const failure: unknown = await rig
    .serve({ ...fake, ...publish, ...nothingKnown }, async () => (await start(stageRequest('e'))).result())
    .catch((error: unknown) => error);
  const cause = failure instanceof WorkflowFailedError ? failure.cause : undefined;
  expect(cause).toBeInstanceOf(ApplicationFailure);
  expect(cause).toMatchObject({ type: 'NAN_LOSS', message: 'try 1', details: [{ attempts: 1 }] });
  expect(fake.tries()).toBe(1);
});

test('a spec may answer a failure otherwise', async () => {
  const fake = failing(['NAN_LOSS']);
  const request = stageRequest('h', { answers: { NAN_LOSS: 'retry' } });
  const result = await rig.serve({ ...fake, ...publish, ...nothingKnown }, async () =>
    (await start(request)).result(),
  );
  expect(result).toMatchObject({ kind: 'ran' });
  expect(fake.tries()).toBe(2);
});

test('out of memory with smaller_batch halves the micro batch until it fits, under the same key', async () => {
  const tried: (number | undefined)[] = [];
  const executeStage = async ({ resources, key }: StageRequest) => {
    tried.push(resources.micro_batch);
    expect(key).toBe(request.key);
    if ((resources.micro_batch ?? 12) > 3) throw toApplicationFailure(new Failure('OUT_OF_MEMORY', 'full'));
    return { kind: 'stored' as const };
  };
  const request = stageRequest('i', { answers: { OUT_OF_MEMORY: 'smaller_batch' }, rankBatch: 12 });
  await rig.serve({ executeStage, ...publish, ...nothingKnown }, async () => (await start(request)).result());
  expect(tried).toEqual([undefined, 6, 3]);
});

test('publishing is tried again without computing again', async () => {
  const fake = failing([]);
  let publishings = 0;
  const publishStage = async () => {
    if (++publishings < 4) throw toApplicationFailure(new Failure('STORE_UNAVAILABLE', 'full'));
    return { kind: 'ran' as const, outputs, attempts: 1 };
  };
  await rig.serve({ ...fake, ...nothingKnown, publishStage }, async () =>
    (await start(stageRequest('f'))).result(),
  );
  expect([fake.tries(), publishings]).toEqual([1, 4]);
});

test('the stage goes on while one run waits for it, and is stopped when the last one leaves', async () => {
  const seen = { started: false, stopped: false };
  const executeStage = async (): Promise<{ kind: 'stored' }> => {
    seen.started = true;
    const timer = setInterval(() => {
      Context.current().heartbeat();
    }, 50);
    try {
      await Context.current().cancelled;
    } finally {
      clearInterval(timer);
      seen.stopped = true;
    }
    return { kind: 'stored' };
  };
  const request = stageRequest('g', { heartbeatSeconds: 1 });
  const result = await rig.serve({ executeStage, ...publish, ...nothingKnown }, async () => {
    const handle = await start(request);
    await handle.signal('join', 'run-2');
    await handle.signal('leave', 'run-1');
    expect(await handle.query('waiters')).toEqual(['run-2']);
    await expect.poll(() => seen.started, { timeout: 20_000 }).toBe(true);
    expect(seen.stopped).toBe(false);
    await handle.signal('leave', 'run-2');
    return handle.result();
  });
  expect(result).toEqual({ kind: 'cancelled' });
  expect(seen.stopped).toBe(true);
});

test('a stage pauses when no run wants it now, and goes on when one does', async () => {
  let tries = 0;
  const executeStage = async (): Promise<{ kind: 'stored' }> => {
    if (++tries === 2) return { kind: 'stored' };
    const timer = setInterval(() => {
      Context.current().heartbeat();
    }, 50);
    await Context.current().cancelled.finally(() => {
      clearInterval(timer);
    });
    return { kind: 'stored' };
  };
  const request = stageRequest('j', { heartbeatSeconds: 1 });
  const result = await rig.serve({ executeStage, ...publish, ...nothingKnown }, async () => {
    const handle = await start(request);
    await handle.signal('join', 'run-2');
    await expect.poll(() => tries, { timeout: 20_000 }).toBe(1);
    await handle.signal('pause', 'run-1');
    expect(await handle.query('work')).toMatchObject({ state: 'working' });
    await handle.signal('pause', 'run-2');
    await handle.signal('pause', 'run-2');
    await expect
      .poll(() => handle.query('work'), { timeout: 20_000 })
      .toMatchObject({ state: 'paused', tries: 1 });
    await handle.signal('join', 'run-2');
    expect(await handle.query('work')).toMatchObject({ state: 'paused' });
    await handle.signal('resume', 'run-2');
    return handle.result();
  });
  expect(result).toMatchObject({ kind: 'ran' });
  expect(tries).toBe(2);
});
