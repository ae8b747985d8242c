import type { JobFolder } from '../job-folder.ts';
import type { JobCause, JobCommand, JobState, Launcher } from './launcher.ts';
import { listLogs } from './rank-logs.ts';

/**
 * Several ranks of one engine job on this host, under torchrun, whose process is found, signalled and
 * ended like any local job: SIGTERM reaches every rank through it. Each rank has a log of its own.
 * @see https://docs.pytorch.org/docs/stable/elastic/run.html
 */
export class TorchrunLauncher implements Launcher {
  readonly name = 'torchrun';
  readonly usesThisHost = true;
  readonly #local: Launcher;
  readonly #python: string;

  constructor(local: Launcher, python: string) {
    this.#local = local;
    this.#python = python;
  }

  start(folder: JobFolder, command: JobCommand): Promise<void> {
    return this.#local.start(folder, {
      ...command,
      runner: 'command',
      argv: this.#argv(folder, command.ranks),
    });
  }

  poll(folder: JobFolder): Promise<JobState> {
    return this.#local.poll(folder);
  }

  wait(folder: JobFolder, timeoutMs: number): Promise<void> {
    return this.#local.wait(folder, timeoutMs);
  }

  stop(folder: JobFolder, graceSeconds: number): Promise<void> {
    return this.#local.stop(folder, graceSeconds);
  }

  async dumpStacks(folder: JobFolder): Promise<string> {
    return (await this.#local.dumpStacks?.(folder)) ?? '';
  }

  logs(folder: JobFolder): Promise<string[]> {
    return listLogs(folder);
  }

  cause(folder: JobFolder): Promise<JobCause | undefined> {
    return this.#local.cause(folder);
  }

  /** No restarts here: another attempt is the control plane's decision, and has a lease of its own. */
  #argv(folder: JobFolder, ranks: number): string[] {
    return [
      ...[this.#python, '-m', 'torch.distributed.run', '--standalone', '--max-restarts', '0'],
      // Ranks would look for each other under the host's name, which it may not know itself.
      ...['--local-addr', '127.0.0.1'],
      ...['--nproc-per-node', String(ranks), '--log-dir', folder.ranks, '--redirects', '3'],
      ...['-m', 'fretsaw_engine', folder.job],
    ];
  }
}
