import { parseArgs } from 'node:util';
import type { Pool } from '../compiler/pool.ts';
import { homePaths } from '../workers/home.ts';
import { withCredentials } from '../workers/read-credentials.ts';
import { Session } from '../workers/session.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { printDiagnostics } from './diagnostics.ts';
import { loadPool } from './load-pool.ts';
import { StopSignals } from './stop-signals.ts';
import { workerSettings } from './temporal-client.ts';

/** Serves one pool, or a fleet's control queue, until it is told to stop; jobs go on, and the next worker finds them. */
export const command: Command = {
  async run(invocation) {
    const { values } = parseArgs({
      args: invocation.args,
      options: {
        pool: { type: 'string' },
        check: { type: 'boolean', default: false },
        control: { type: 'boolean', default: false },
        promote: { type: 'boolean', default: false },
      },
    });
    if (values.control || values.promote) {
      const { controlFleet } = await import('./control-worker.ts');
      await controlFleet(values, invocation);
      return exitCodes.ok;
    }
    if (values.pool === undefined) throw new UsageError('expected --pool <name>, --control or --promote');
    const loaded = loadPool(values.pool, invocation);
    if (!loaded.ok) {
      printDiagnostics(loaded.error, invocation);
      return exitCodes.usage;
    }
    if (values.check) return tellPool(loaded.value, invocation);
    await servePool(loaded.value, invocation);
    return exitCodes.ok;
  },
};

/** What a pool's file comes to, with defaults. */
function tellPool(pool: Pool, { terminal }: Invocation): number {
  terminal.out(`${JSON.stringify(pool, null, 1)}\n`);
  return exitCodes.ok;
}

async function servePool(pool: Pool, invocation: Invocation): Promise<void> {
  const env: NodeJS.ProcessEnv = {
    ...withCredentials(invocation.env, pool.credentials),
    ...(pool.home === undefined ? {} : { FRETSAW_HOME: pool.home }),
    ...(pool.store === undefined ? {} : { FRETSAW_STORE: pool.store }),
  };
  // The SDK of the store reads its credentials here.
  Object.assign(process.env, env);
  const paths = homePaths(env, invocation.cwd);
  const settings = workerSettings({ ...invocation, env }, paths);
  const stopped = new StopSignals();
  const server = new ServerPort();
  const session = settings.isEmbedded
    ? await Session.open(paths, settings, (what) => {
        invocation.terminal.err(`${what} had ended and was started again\n`);
        server.isAt(session?.port);
      })
    : undefined;
  try {
    const { runPool } = await import('../workers/run-pool.ts');
    while (!stopped.signal.aborted) {
      const moved = server.follow(session?.port);
      const signal = AbortSignal.any([stopped.signal, moved]);
      await runPool({ settings, pool, env, signal, onReady: readyTeller(pool, invocation) });
    }
  } finally {
    await session?.close();
    stopped.close();
  }
}

/** An embedded server that had to take another port is found by a new connection only. */
class ServerPort {
  #port: number | undefined;
  #moved = new AbortController();

  follow(port: number | undefined): AbortSignal {
    this.#port = port;
    this.#moved = new AbortController();
    return this.#moved.signal;
  }

  isAt(port: number | undefined): void {
    if (port !== this.#port) this.#moved.abort();
  }
}

function readyTeller({ name, slots, launcher, allow }: Pool, { json, terminal }: Invocation) {
  return ({ namespace, queue }: { namespace: string; queue: string }): void => {
    if (json) terminal.out(`${JSON.stringify({ pool: name, state: 'serving', namespace, queue, slots })}\n`);
    else {
      const who = allow === undefined ? 'anybody' : allow.map((signer) => signer.name).join(', ');
      terminal.err(
        `pool ${name}: serving queue ${queue} of namespace ${namespace}: ${slots} slots, launcher ${launcher}, for plans of ${who}\n`,
      );
    }
  };
}
