import { err, ok, type Result } from '../core/result.ts';
import { choice, flag, integer, list, mapOf, number, record, text } from '../kinds/setting.ts';
import { checkMap } from './check-settings.ts';
import { compareDiagnostics, type Diagnostic } from './diagnostic.ts';
import { parseYaml } from './parse-yaml.ts';
import type { Pool } from './pool.ts';
import { describe, Faults, sourceFile, type MapNode } from './tree.ts';

const path = '^/';
const launchers = ['local', 'slurm', 'kubernetes'] as const;

const slurm = record('Jobs go to Slurm.', {
  partition: text('Partition.'),
  account: text('Account that is charged.'),
  qos: text('Quality of service.'),
  gpus_per_node: integer('GPUs of a node: ranks of a job on it.', { default: 8, minimum: 1, maximum: 64 }),
  gres: text("A node's GPUs as the cluster calls them.", { pattern: '^[A-Za-z0-9_]+(:[A-Za-z0-9_]+)?$' }),
  hours: number('Longest time of a job.', { exclusiveMinimum: 0, unit: 'hours' }),
  options: list('More sbatch options.', text('One option.', { pattern: '^--[a-z][^\\n]*$' }), {
    default: [],
  }),
  poll_seconds: number('Time between two looks at the queue.', {
    default: 5,
    exclusiveMinimum: 0,
    unit: 'seconds',
  }),
  container: record(
    'The image that jobs run in.',
    {
      runtime: choice('What starts it.', ['pyxis', 'apptainer']),
      image: text('Image, as the runtime names it.', { pattern: '^\\S+$' }),
      mounts: list('host:container[:ro].', text('One mount.', { pattern: '^/[^:\\s]*:/[^\\s]*$' }), {
        default: [],
      }),
    },
    { required: ['runtime', 'image'] },
  ),
});

const kubernetes = record(
  'Jobs go to Kubernetes.',
  {
    namespace: text('Namespace.', { default: 'fretsaw', pattern: '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$' }),
    image: text('Image of the engine.', { pattern: '^\\S+$' }),
    gpus_per_node: integer('GPUs of a node: ranks of a job on it.', { default: 8, minimum: 1, maximum: 64 }),
    gpu_resource: text('Name of the resource that a GPU is.', { default: 'nvidia.com/gpu' }),
    queue: text('Kueue LocalQueue.'),
    jobset: flag('Several nodes as a JobSet; else as an indexed Job.', false),
    claim: text('PersistentVolumeClaim that holds the home.'),
    service_account: text('Service account of jobs.'),
    secret: text('Secret object; its keys are the names of secrets.'),
    node_selector: mapOf('Labels of the nodes.', text('Value.'), { default: {} }),
    run_as: integer('User and group id of jobs.', { default: 10_001, minimum: 1, maximum: 2 ** 31 - 1 }),
    poll_seconds: number('Time between two looks at the jobs.', {
      default: 5,
      exclusiveMinimum: 0,
      unit: 'seconds',
    }),
  },
  { required: ['image', 'claim'] },
);

const signer = record(
  'Whose signature under a plan opens the pool.',
  {
    name: text('For messages.', { minLength: 1 }),
    key: text('Ed25519 public key: SubjectPublicKeyInfo in base64.', { pattern: '^[A-Za-z0-9+/]{59}=$' }),
    branches: list('Branches, * within a name.', text('One branch.', { minLength: 1 }), { minItems: 1 }),
  },
  { required: ['name', 'key'] },
);

/** A pool's file; infra/pools holds examples. */
export const poolSetting = record(
  'A pool of workers of one hardware class.',
  {
    fretsaw: choice('Version of this language.', ['pool/v1']),
    name: text('Name of the pool, as stages ask for it.', { pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' }),
    launcher: choice('What starts jobs.', launchers, 'local'),
    slots: integer('Stages at work at once.', { default: 1, minimum: 1, maximum: 1000 }),
    home: text('Job folders, and the store where there is no other: an absolute path.', { pattern: path }),
    store: text('Where the store is.', { pattern: '^(/|s3://)\\S+$' }),
    installation: text('Where Fretsaw lies on the machines that run jobs.', { pattern: path }),
    credentials: text('File of NAME=value lines, for this worker alone.', { pattern: path }),
    jobs: record(
      'How jobs run.',
      {
        user: text("The system's user that runs them.", { pattern: '^[a-z_][a-z0-9_-]*$' }),
        env: list("The worker's variables that they see.", text('Name.', { pattern: '^[A-Za-z_]\\w*$' }), {
          default: [],
          uniqueItems: true,
        }),
      },
      { default: { env: [] } },
    ),
    allow: list('Who may use the pool.', signer, { minItems: 1 }),
    slurm,
    kubernetes,
  },
  { required: ['fretsaw', 'name'] },
);

/** A pool's YAML text, checked; every fault with its place. */
export function readPool(file: string, yaml: string): Result<Pool, Diagnostic[]> {
  const faults = new Faults();
  const tree = parseYaml(file, yaml, faults);
  if (tree !== undefined && tree.kind !== 'map') {
    faults.add('WRONG_TYPE', tree.place, { message: `expected a pool (a map), found ${describe(tree)}` });
  }
  const map = tree?.kind === 'map' ? tree : undefined;
  const place = map?.place ?? { file: sourceFile(file, yaml), start: 0, end: 0 };
  if (map !== undefined || faults.count === 0) {
    const values = checkMap(map, poolSetting, {
      faults,
      path: 'pool',
      place: { ...place, end: place.start },
    });
    checkLauncher(map, values['launcher'], faults);
    // checkMap has just compared it with poolSetting, which says the same as Pool.
    if (faults.count === 0) return ok(values as unknown as Pool);
  }
  return err(faults.list().sort(compareDiagnostics));
}

/** Settings of another launcher are a mistake; those of this one must be there, if only as `{}`. */
function checkLauncher(map: MapNode | undefined, launcher: unknown, faults: Faults): void {
  if (map === undefined) return;
  for (const name of ['slurm', 'kubernetes']) {
    const entry = map.entries.get(name);
    if (entry !== undefined && launcher !== name) {
      faults.add('UNKNOWN_SETTING', entry.keyPlace, {
        message: `pool: ${name} is for launcher: ${name}, and this pool's is ${String(launcher)}`,
      });
    }
    if (entry === undefined && launcher === name) {
      const chosen = map.entries.get('launcher')?.value.place ?? map.place;
      faults.add('MISSING_SETTING', chosen, { message: `pool: launcher ${name} needs ${name}:` });
    }
  }
}
