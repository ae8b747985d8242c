import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root } from './built.ts';

/** Undefined when Slurm can be started here; else why not, for the name of the skipped suite. */
export function whyNoSlurm(): string | undefined {
  const absent = ['slurmctld', 'slurmd', 'munged', 'sbatch'].filter(
    (program) => spawnSync('sh', ['-c', `command -v ${program}`], { env: withSbin() }).status !== 0,
  );
  if (absent.length > 0) return `needs Debian's slurm-wlm and munge (no ${absent.join(', ')})`;
  return process.getuid?.() === 0 ? undefined : 'needs root to start Slurm';
}

function withSbin(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
}

/** A real Slurm of three nodes on this host. */
export class SlurmRig {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Ports must not meet those of another rig that runs at the same time. */
  static start(folder: string, options: { port: number; hasAccounting?: boolean }): SlurmRig {
    mkdirSync(folder, { recursive: true });
    const words = [folder, String(options.port), ...(options.hasAccounting === true ? ['jobcomp'] : [])];
    execFileSync(join(root, 'infra', 'dev', 'slurm', 'start.sh'), words, {
      env: withSbin(),
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    return new SlurmRig(folder);
  }

  get env(): Record<string, string> {
    return {
      PATH: withSbin()['PATH'] ?? '',
      HOME: process.env['HOME'] ?? '',
      SLURM_CONF: join(this.folder, 'slurm.conf'),
    };
  }

  run(program: string, ...args: string[]): string {
    return execFileSync(program, args, { env: this.env, encoding: 'utf8' }).trim();
  }

  /** `RUNNING`, or empty when the queue has forgotten the job. */
  stateOf(job: string): string {
    const all = this.run('squeue', '--noheader', '--states=all', '--format=%i|%T');
    return (
      all
        .split('\n')
        .find((line) => line.startsWith(`${job}|`))
        ?.split('|')[1] ?? ''
    );
  }

  /** kill -9 of the daemon of one node; its jobs' processes are left to themselves. */
  killNode(node: string): void {
    process.kill(Number(readFileSync(join(this.folder, `slurmd.${node}.started`), 'utf8')), 'SIGKILL');
  }

  async until(what: () => boolean | Promise<boolean>, seconds = 60): Promise<void> {
    const end = Date.now() + seconds * 1000;
    while (!(await what())) {
      if (Date.now() > end) throw new Error(`waited ${seconds} s in vain for ${String(what)}`);
      await sleep(200);
    }
  }

  stop(): void {
    spawnSync(join(root, 'infra', 'dev', 'slurm', 'stop.sh'), [this.folder], { env: this.env });
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
