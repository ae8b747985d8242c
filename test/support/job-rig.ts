import type { Client } from '@temporalio/client';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { CpuSlots } from '../../activities/cpu-slots.ts';
import type { ActivityDeps } from '../../activities/deps.ts';
import { executeStage } from '../../activities/execute-stage.ts';
import { JobFolder } from '../../activities/job-folder.ts';
import { LocalLauncher } from '../../activities/launchers/local.ts';
import { Spawner } from '../../activities/launchers/spawner.ts';
import { TorchrunLauncher } from '../../activities/launchers/torchrun.ts';
import { StageMetrics } from '../../activities/metrics.ts';
import type { AttemptEnd, StageRequest } from '../../activities/stage-request.ts';
import { canonicalJson, type Json } from '../../core/canonical-json.ts';
import { digestFromHex, hexOf } from '../../core/digest.ts';
import { isFailure, type Failure } from '../../core/errors.ts';
import { stageKey, type KeyDocument, type StageKey } from '../../core/keys.ts';
import { listAttempts, type AttemptPredicate } from '../../lineage/attempt.ts';
import { openDiskStore } from '../../store/open-disk-store.ts';
import { sha256Text } from '../../store/sha256.ts';
import type { Store } from '../../store/store.ts';
import { programPaths } from '../../workers/worker-settings.ts';
import { ensureBuilt, root } from './built.ts';
import { stageRequest } from './workflow-rig.ts';

/** What an attempt came to: what it gave, or its failure; and what was written down of all attempts. */
export interface Tried {
  end: AttemptEnd | undefined;
  failure: Failure | undefined;
  attempts: AttemptPredicate[];
}

/**
 * Attempts at stages of kind `pretrain` on a store and launcher of their own, with no Temporal: real
 * processes behind the engine's real door, whose stage is test/fixtures/engine/pretrain.py.
 */
export class JobRig {
  readonly folder: string;
  readonly store: Store;
  /** What a stage's workflow would have been told. */
  readonly told: unknown[][] = [];
  readonly #spawner: Spawner;
  readonly #deps: ActivityDeps;

  private constructor(folder: string) {
    this.folder = folder;
    this.store = openDiskStore({ home: folder, domain: 'local', trusted: [] });
    this.#spawner = new Spawner(programPaths.spawner(root));
    this.#deps = this.#makeDeps();
  }

  static async open(): Promise<JobRig> {
    await ensureBuilt();
    const rig = new JobRig(mkdtempSync(join(tmpdir(), 'fretsaw-jobs-')));
    rig.#layOutEngine();
    return rig;
  }

  async key(settings: Record<string, Json>, kind = 'pretrain'): Promise<StageKey> {
    const document: KeyDocument = {
      schema: 'fretsaw/key/v1',
      kind,
      version: '1',
      with: settings,
      inputs: {},
    };
    const key = stageKey(document, sha256Text);
    await this.store.documents.create(`keys/${hexOf(key)}`, canonicalJson(document));
    return key;
  }

  /** One attempt. `whileItRuns` is called with the folder of the job once it has begun to step. */
  async attempt(
    key: StageKey,
    changes: Partial<StageRequest> = {},
    whileItRuns?: (job: JobFolder) => Promise<void> | void,
  ): Promise<Tried> {
    const request = stageRequest('train', { kind: 'pretrain', key, ...changes });
    const pulse = { beat: () => undefined, signal: new AbortController().signal, isStopAsked: () => false };
    const ending = executeStage(this.#deps, request, pulse).then(
      (end) => ({ end, failure: undefined }),
      (error: unknown) => {
        if (!isFailure(error)) throw error;
        return { end: undefined, failure: error };
      },
    );
    if (whileItRuns !== undefined) await whileItRuns(await this.#steppingJob(key));
    return { ...(await ending), attempts: await listAttempts(this.store.documents, key) };
  }

  close(): void {
    this.#spawner.close();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  async #steppingJob(key: StageKey): Promise<JobFolder> {
    const work = join(this.folder, 'work');
    for (;;) {
      const attempts = existsSync(join(work, hexOf(key)))
        ? readdirSync(join(work, hexOf(key))).map(Number)
        : [];
      const job = new JobFolder(work, key, Math.max(0, ...attempts));
      if (existsSync(job.events) && readFileSync(job.events, 'utf8').includes('"progress"')) return job;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  #makeDeps(): ActivityDeps {
    const local = new LocalLauncher({ spawner: this.#spawner, pySpy: programPaths.pySpy(root) });
    const torchrun = new TorchrunLauncher(local, programPaths.python(root));
    const handle = { signal: async (...said: unknown[]) => void this.told.push(said) };
    return {
      store: this.store,
      home: { work: join(this.folder, 'work'), downloads: join(this.folder, 'downloads') },
      client: { workflow: { getHandle: () => handle } } as unknown as Client,
      queues: { control: 'control', waiters: 'control' },
      poolQueue: () => 'local',
      host: hostname(),
      pid: process.pid,
      versions: { pretrain: '1', command: '1' },
      codes: { pretrain: digestFromHex('0'.repeat(64)) },
      tools: {},
      launcherFor: ({ runner, ranks }) => (runner === 'engine' && ranks > 1 ? torchrun : local),
      cpuSlots: new CpuSlots(2),
      programs: {
        python: programPaths.python(root),
        engine: join(this.folder, 'engine'),
        node: process.execPath,
        job: programPaths.job(root),
        env: { PATH: process.env['PATH'] ?? '' },
      },
      keepJobFiles: false,
      sha256: sha256Text,
      metrics: new StageMetrics(undefined),
      secret: () => undefined,
    };
  }

  /** The door of the engine, and behind it the one stage of these tests. */
  #layOutEngine(): void {
    const engine = join(this.folder, 'engine', 'fretsaw_engine');
    mkdirSync(join(engine, 'stages'), { recursive: true });
    for (const name of ['__init__.py', '__main__.py', 'environment.py', 'job.py'])
      copyFileSync(join(root, 'engine', 'src', 'fretsaw_engine', name), join(engine, name));
    writeFileSync(join(engine, 'stages', '__init__.py'), '');
    copyFileSync(
      join(root, 'test', 'fixtures', 'engine', 'pretrain.py'),
      join(engine, 'stages', 'pretrain.py'),
    );
  }
}
