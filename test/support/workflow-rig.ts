import type { ArtifactRef } from '../../core/artifact.ts';
import { digestFromHex } from '../../core/digest.ts';
import type { StageKey } from '../../core/keys.ts';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime, Worker, makeTelemetryFilterString } from '@temporalio/worker';
import { join } from 'node:path';
import type { Activities } from '../../activities/index.ts';
import type { RunRequest } from '../../activities/run-request.ts';
import type { StageRequest } from '../../activities/stage-request.ts';
import { ensureBuilt, root } from './built.ts';

export const queue = 'test';

/** A time-skipping server and the built workflows: what sleeps for days in a workflow sleeps for nothing here. */
export class WorkflowRig {
  readonly env: TestWorkflowEnvironment;

  private constructor(env: TestWorkflowEnvironment) {
    this.env = env;
  }

  static async open(): Promise<WorkflowRig> {
    Runtime.install({
      logger: new DefaultLogger('ERROR'),
      telemetryOptions: { logging: { filter: makeTelemetryFilterString({ core: 'ERROR', other: 'ERROR' }) } },
    });
    await ensureBuilt();
    const path = join(root, '.venv', 'bin', 'temporal-test-server');
    return new WorkflowRig(
      await TestWorkflowEnvironment.createTimeSkipping({
        server: { executable: { type: 'existing-path', path } },
      }),
    );
  }

  /** Serves the test queue with these activities, of the real type, while `work` lasts. */
  async serve<T>(activities: Partial<Activities>, work: () => Promise<T>): Promise<T> {
    const worker = await Worker.create({
      connection: this.env.nativeConnection,
      taskQueue: queue,
      workflowBundle: { codePath: join(root, 'dist', 'workflows.js') },
      activities,
    });
    return await worker.runUntil(work);
  }

  close(): Promise<void> {
    return this.env.teardown();
  }
}

export function keyOf(name: string): StageKey {
  return digestFromHex(Buffer.from(name).toString('hex').padEnd(64, '0').slice(0, 64)) as StageKey;
}

export function artifact(name: string): ArtifactRef {
  return { digest: keyOf(`artifact ${name}`), type: 'folder', sizeBytes: 1 };
}

export function stageRequest(stage: string, changes: Partial<StageRequest> = {}): StageRequest {
  return {
    run: 'run-1',
    stage,
    kind: 'command',
    key: keyOf(stage),
    pool: queue,
    isControlPool: false,
    attempts: 3,
    resources: { cpus: 1, gpus: 0 },
    secrets: [],
    heartbeatSeconds: 15,
    leaseSeconds: 60,
    ...changes,
  };
}

export function runRequest(changes: Partial<RunRequest> = {}): RunRequest {
  return {
    run: 'run-1',
    spec: 'test',
    planDigest: keyOf('plan'),
    queues: { control: queue, waiters: queue },
    maxInFlight: 64,
    heartbeatSeconds: 15,
    leaseSeconds: 60,
    ...changes,
  };
}
