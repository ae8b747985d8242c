import type { Client } from '@temporalio/client';
import type { WorkerDeploymentVersion } from '@temporalio/common';
import type { AllowedSigner } from '../compiler/pool.ts';
import type { Digest, Sha256 } from '../core/digest.ts';
import type { Store } from '../store/store.ts';
import type { CpuSlots } from './cpu-slots.ts';
import type { JobCommand, Launcher } from './launchers/launcher.ts';
import type { SecretReader } from './launchers/secrets.ts';
import type { StageMetrics } from './metrics.ts';
import type { Notice } from './notify.ts';
import type { TaskQueues } from './run-request.ts';

/** Folders of this host that are not the store. */
export interface Home {
  /** `<key hex>/<attempt>` below it: job folders. */
  work: string;
  /** Downloads of imports before they are stored. */
  downloads: string;
}

/** How jobs of each runner are started on this host. */
export interface Programs {
  python: string;
  /** Added to PYTHONPATH for engine jobs. */
  engine: string;
  node: string;
  /** `dist/job.js`. */
  job: string;
  /** Variables of the worker that every job gets. */
  env: Readonly<Record<string, string>>;
}

/** Everything that activities are given; workers build it. */
export interface ActivityDeps {
  store: Store;
  home: Home;
  client: Client;
  queues: TaskQueues;
  /** Pool name -> task queue. */
  poolQueue: (pool: string) => string;
  /** What this worker's runs are pinned to, and the stages that they start with them. */
  version?: WorkerDeploymentVersion;
  host: string;
  pid: number;
  /** Kind -> version as it goes into keys: `3+dirty.<hash>` when this worker's code is not the pinned one. */
  versions: Readonly<Record<string, string>>;
  /** Kind -> digest of its code as this worker has it. */
  codes: Readonly<Record<string, Digest>>;
  /** What jobs run on (node, python, torch ...), noted with each attempt. */
  tools: Readonly<Record<string, string>>;
  launcherFor: (command: Pick<JobCommand, 'runner' | 'ranks'>) => Launcher;
  cpuSlots: CpuSlots;
  programs: Programs;
  /** Leave outputs and snapshots in job folders after they were stored. */
  keepJobFiles: boolean;
  sha256: Sha256;
  metrics: StageMetrics;
  /** Tells people what happens in runs; absent where nobody asked for that. */
  notifier?: (notice: Notice) => Promise<void>;
  secret: SecretReader;
  /** Whose plans this worker's pool runs; absent: anybody's. */
  allow?: readonly AllowedSigner[];
}
