import type { SlurmSettings } from '../../../compiler/pool.ts';
import type { JobFolder } from '../../job-folder.ts';
import type { JobCommand } from '../launcher.ts';
import { shapeOf, type Shape } from '../shape.ts';

export interface ScriptOptions {
  settings: SlurmSettings;
  name: string;
  python: string;
  /** Mounted into a container: the home and the installation. */
  paths: readonly string[];
}

/**
 * The batch script of a job, for people as well: what was asked for on top, then the environment, then one srun. It
 * outlives SIGTERM, which the steps answer with a last snapshot, and notes their exit code in one write.
 *
 * Slurm never starts it a second time: a restart in the same folder could meet the ranks of a lost node that are still at
 * work. Another attempt is Fretsaw's, in a folder of its own, under a lease that fences the older one off.
 * @see https://slurm.schedmd.com/sbatch.html
 */
export function jobScript(folder: JobFolder, command: JobCommand, options: ScriptOptions): string {
  const shape = shapeOf(command.resources, options.settings.gpus_per_node);
  const secrets = Object.keys(command.secrets);
  const lines = [
    '#!/bin/bash',
    `# Fretsaw job ${options.name}: attempt ${folder.attempt} of the stage key in ${folder.job}`,
    `# Run again by hand, after setting lease.seconds to 0 in job.json (nobody renews it then): sbatch ${folder.script}`,
    ...(secrets.length === 0 ? [] : [`# sbatch must have these in its environment: ${secrets.join(' ')}`]),
    ...directives(folder, command, { ...options, shape }).map((option) => `#SBATCH ${option}`),
    '',
    ...Object.entries(command.env).map(([key, value]) => `export ${key}=${quote(value)}`),
    ...(shape.nodes > 1 ? rendezvous : []),
    '',
    `touch ${quote(folder.began)}`,
    'trap : TERM INT # for the steps; this script goes on to note how they ended',
    'code=0',
    `srun ${stepOptions(shape, options).join(' ')} \\`,
    `  ${stepCommand(folder, command, { ...options, shape })} || code=$?`,
    `printf '%s\\n' "$code" > ${quote(folder.exit)}`,
    'exit "$code"',
    '',
  ];
  return lines.join('\n');
}

/** The script runs on the first node; ports of jobs that share one differ. */
const rendezvous = [
  'MASTER_ADDR=$(hostname)',
  'MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))',
  'export MASTER_ADDR MASTER_PORT',
];

function directives(
  folder: JobFolder,
  { resources, cwd }: JobCommand,
  { settings, name, shape }: ScriptOptions & { shape: Shape },
): string[] {
  const { partition, account, qos, gres, hours, options } = settings;
  const given = (option: string, value: string | undefined): string[] =>
    value === undefined ? [] : [`--${option}=${value}`];
  const hasGpus = resources.gpus > 0 && gres !== undefined;
  return [
    `--job-name=${name}`,
    `--nodes=${shape.nodes}`,
    '--ntasks-per-node=1',
    `--cpus-per-task=${Math.max(1, Math.ceil(resources.cpus))}`,
    ...given('mem', resources.memory_gib === undefined ? undefined : `${Math.ceil(resources.memory_gib)}G`),
    ...given('gres', hasGpus ? `${gres}:${shape.ranksPerNode}` : undefined),
    ...given('partition', partition),
    ...given('account', account),
    ...given('qos', qos),
    ...given('time', hours === undefined ? undefined : String(Math.ceil(hours * 60))),
    `--chdir=${cwd}`,
    `--output=${folder.log}`,
    '--open-mode=append',
    '--no-requeue',
    ...options,
  ];
}

function stepOptions({ nodes }: Shape, { settings: { container }, paths }: ScriptOptions): string[] {
  const options = [`--nodes=${nodes}`, '--ntasks-per-node=1', '--kill-on-bad-exit=1'];
  if (container?.runtime !== 'pyxis') return options;
  const mounts = [...paths.map((path) => `${path}:${path}`), ...container.mounts];
  return [
    ...options,
    `--container-image=${quote(container.image)}`,
    `--container-mounts=${quote(mounts.join(','))}`,
  ];
}

/** torchrun on each node brings the ranks together; each rank writes a log of its own. */
function stepCommand(
  folder: JobFolder,
  command: JobCommand,
  { python, shape, settings: { container }, paths }: ScriptOptions & { shape: Shape },
): string {
  const argv = command.ranks > 1 ? torchrun(folder, { python, shape }) : command.argv.map(quote);
  if (container?.runtime !== 'apptainer') return argv.join(' ');
  const mounts = [...paths.map((path) => `${path}:${path}`), ...container.mounts];
  const gpu = command.resources.gpus > 0 ? ['--nv'] : [];
  return [
    ...['apptainer', 'exec', ...gpu, '--bind', quote(mounts.join(',')), quote(container.image)],
    ...argv,
  ].join(' ');
}

/** @see https://docs.pytorch.org/docs/stable/elastic/run.html: static rendezvous, ranks in the order of the nodes. */
function torchrun(folder: JobFolder, { python, shape }: { python: string; shape: Shape }): string[] {
  const run = [
    ...[quote(python), '-m', 'torch.distributed.run', '--max-restarts', '0'],
    ...['--nproc-per-node', String(shape.ranksPerNode), '--redirects', '3'],
  ];
  const engine = ['-m', 'fretsaw_engine', quote(folder.job)];
  const logs = quote(folder.ranks);
  if (shape.nodes === 1) return [...run, '--standalone', '--log-dir', logs, ...engine];
  const many = [
    ...['--nnodes', String(shape.nodes), '--node-rank', '"$SLURM_NODEID"'],
    ...['--master-addr', '"$MASTER_ADDR"', '--master-port', '"$MASTER_PORT"'],
    ...['--log-dir', `${logs}/node"$SLURM_NODEID"`],
  ];
  return ['bash', '-c', quote(['exec', ...run, ...many, ...engine].join(' '))];
}

/** One word for a POSIX shell. */
function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
