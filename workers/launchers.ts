import type { ActivityDeps } from '../activities/deps.ts';
import { LocalLauncher } from '../activities/launchers/local.ts';
import { Spawner } from '../activities/launchers/spawner.ts';
import { TorchrunLauncher } from '../activities/launchers/torchrun.ts';
import type { JobUser } from '../activities/launchers/job-user.ts';
import type { SecretReader } from '../activities/launchers/secrets.ts';
import { SlurmClient } from '../activities/launchers/slurm/slurm-client.ts';
import { SlurmLauncher } from '../activities/launchers/slurm/slurm.ts';
import { WarmEngine } from '../activities/launchers/warm-engine.ts';
import type { KubernetesSettings, Pool, SlurmSettings } from '../compiler/pool.ts';
import { findUser } from './find-user.ts';
import { programPaths } from './worker-settings.ts';

export interface Launchers {
  launcherFor: ActivityDeps['launcherFor'];
  close(): void;
}

export interface LauncherInputs {
  root: string;
  /** Gets what the warm engine writes. */
  log: string;
  jobEnv: Readonly<Record<string, string>>;
  /** The worker's own. */
  env: NodeJS.ProcessEnv;
  secret: SecretReader;
  /** Store and job folders. */
  home: string;
  pool?: Pool;
}

/** What starts the jobs of a pool, or of this host's own. */
export async function openLaunchers(inputs: LauncherInputs): Promise<Launchers> {
  if (inputs.pool?.kubernetes !== undefined) return await kubernetesLaunchers(inputs, inputs.pool.kubernetes);
  return inputs.pool?.slurm === undefined
    ? localLaunchers(inputs)
    : slurmLaunchers(inputs, inputs.pool.slurm, inputs.pool);
}

function slurmLaunchers(
  { root, home, env, secret }: LauncherInputs,
  settings: SlurmSettings,
  pool: Pool,
): Launchers {
  const installation = pool.installation ?? root;
  const as = userOf(pool);
  const client = new SlurmClient({
    env: slurmEnvironment(env),
    pollMs: settings.poll_seconds * 1000,
    ...as,
  });
  const slurm = new SlurmLauncher({
    client,
    settings,
    python: programPaths.python(installation),
    paths: [home, installation],
    secret,
    ...as,
  });
  return { launcherFor: () => slurm, close: () => undefined };
}

/** Enough for sbatch and its like to find their configuration; jobs inherit it. */
function slurmEnvironment(env: NodeJS.ProcessEnv): Record<string, string> {
  const names = ['PATH', 'HOME', 'SLURM_CONF'];
  return Object.fromEntries(names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])));
}

/** Several ranks need torchrun to bring them together. */
function localLaunchers({ root, log, jobEnv, secret, pool }: LauncherInputs): Launchers {
  const python = programPaths.python(root);
  const warmEngine = new WarmEngine({
    python,
    env: { ...jobEnv, PYTHONPATH: programPaths.engine(root), OMP_NUM_THREADS: '1' },
    log,
  });
  const spawner = new Spawner(programPaths.spawner(root));
  const local = new LocalLauncher({
    spawner,
    warmEngine,
    secret,
    pySpy: programPaths.pySpy(root),
    ...userOf(pool),
  });
  const torchrun = new TorchrunLauncher(local, python);
  return {
    launcherFor: ({ runner, ranks }) => (runner === 'engine' && ranks > 1 ? torchrun : local),
    close: () => {
      warmEngine.close();
      spawner.close();
    },
  };
}

function userOf(pool: Pool | undefined): { user?: JobUser } {
  return pool?.jobs.user === undefined ? {} : { user: findUser(pool.jobs.user) };
}

/** Only a pool that needs it loads Kubernetes' client. Its configuration is kubectl's, or the pod's own service account. */
async function kubernetesLaunchers(
  { root, home, pool }: LauncherInputs,
  settings: KubernetesSettings,
): Promise<Launchers> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const { Cluster } = await import('../activities/launchers/kubernetes/cluster.ts');
  const { KubernetesLauncher } = await import('../activities/launchers/kubernetes/kubernetes.ts');
  const config = new KubeConfig();
  config.loadFromDefault();
  const cluster = new Cluster({
    config,
    namespace: settings.namespace,
    hasJobSets: settings.jobset,
    pollMs: settings.poll_seconds * 1000,
  });
  const python = programPaths.python(pool?.installation ?? root);
  const launcher = new KubernetesLauncher({ cluster, settings, python, home });
  return { launcherFor: () => launcher, close: () => undefined };
}
