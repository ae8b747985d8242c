import { fork, type ChildProcess } from 'node:child_process';
import { Failure } from '../../core/errors.ts';
import type { ProcessIdentity } from './process-identity.ts';
import type { SpawnAnswer, SpawnRequest } from './spawner-process.ts';

export interface SpawnedJob {
  identity: ProcessIdentity;
  /** Resolves when the job has ended, or nobody can say any more. */
  ended: Promise<void>;
}

interface Pending {
  started: (answer: SpawnAnswer & { kind: 'started' }) => void;
  ended: () => void;
}

/** Starts jobs through a small process of its own, kept as long as this one lives. */
export class Spawner {
  readonly #script: string;
  readonly #pending = new Map<number, Pending>();
  #process: ChildProcess | undefined;
  #lastId = 0;

  /** `script`: runs `serveSpawner`. */
  constructor(script: string) {
    this.#script = script;
  }

  async start(request: Omit<SpawnRequest, 'id'>): Promise<SpawnedJob> {
    const id = ++this.#lastId;
    const helper = this.#ensureProcess();
    let ended = (): void => undefined;
    const end = new Promise<void>((resolve) => (ended = resolve));
    const answer = await new Promise<SpawnAnswer & { kind: 'started' }>((started) => {
      this.#pending.set(id, { started, ended });
      helper.send({ ...request, id });
    });
    if (answer.identity !== undefined) return { identity: answer.identity, ended: end };
    throw new Failure(
      'NODE_LOST',
      `the job did not start: ${answer.error ?? 'it was gone before it could be noted'}`,
    );
  }

  close(): void {
    this.#process?.disconnect();
    this.#process = undefined;
  }

  #ensureProcess(): ChildProcess {
    if (this.#process?.connected === true) return this.#process;
    const helper = fork(this.#script, [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], execArgv: [] });
    helper.on('message', (answer: SpawnAnswer) => {
      this.#hear(answer);
    });
    helper.once('exit', () => {
      this.#loseAll(helper);
    });
    helper.on('error', () => undefined);
    helper.unref();
    helper.channel?.unref();
    this.#process = helper;
    return helper;
  }

  #hear(answer: SpawnAnswer): void {
    const pending = this.#pending.get(answer.id);
    if (answer.kind === 'started') pending?.started(answer);
    else {
      this.#pending.delete(answer.id);
      pending?.ended();
    }
  }

  /** The jobs live on; their ends are found by polling. */
  #loseAll(helper: ChildProcess): void {
    if (this.#process === helper) this.#process = undefined;
    for (const [id, { started, ended }] of this.#pending) {
      started({ id, kind: 'started', identity: undefined, error: 'the spawner was killed' });
      ended();
    }
    this.#pending.clear();
  }
}
