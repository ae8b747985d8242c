import type { Client } from '@temporalio/client';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { poolQueueOf } from '../workers/worker-settings.ts';
import { exitCodes, UsageError, type Command, type Invocation, type Terminal } from './command.ts';
import { liveClient } from './live-states.ts';
import { StopSignals } from './stop-signals.ts';
import type { TopSnapshot, TopWatch } from './top-snapshot.ts';
import { topText } from './top-text.ts';

/** On a terminal redrawn until Ctrl-C; in a pipe, or with --json, one look. */
export const command: Command = {
  async run(invocation) {
    const { values } = parseArgs({
      args: invocation.args,
      options: { every: { type: 'string', default: '2' } },
    });
    const everySeconds = Number(values.every);
    if (!(everySeconds >= 0.5 && everySeconds <= 3600))
      throw new UsageError(`--every: expected 0.5 to 3600 seconds, found ${values.every}`);
    const watch = await openWatch(invocation);
    const { terminal } = invocation;
    if (terminal.isTty) await redraw(watch, { terminal, everyMs: everySeconds * 1000 });
    else return await lookOnce(watch, invocation);
    return exitCodes.ok;
  },
};

async function lookOnce(watch: Watch, { terminal, json }: Invocation): Promise<number> {
  const { snapshot, trouble } = await watch.look();
  await watch.close();
  terminal.out(json ? `${JSON.stringify(snapshot)}\n` : `${topText(snapshot, terminal).join('\n')}\n`);
  if (trouble === '') return exitCodes.ok;
  terminal.err(`${trouble}\n`);
  return exitCodes.unavailable;
}

interface Look {
  snapshot: TopSnapshot;
  /** Why nothing can be seen now; empty when it can. */
  trouble: string;
}

interface Watch {
  look(): Promise<Look>;
  close(): Promise<void>;
}

/** Finds the server anew after it was away. */
async function openWatch(invocation: Invocation): Promise<Watch> {
  const paths = homePaths(invocation.env, invocation.cwd);
  const store = openHomeStore(paths);
  let client: Client | undefined;
  let watch: TopWatch | undefined;
  const drop = async (): Promise<void> => {
    const old = client;
    client = undefined;
    await old?.connection.close().catch(() => undefined);
  };
  return {
    look: async () => {
      client ??= await liveClient(invocation, paths);
      if (client === undefined) return { snapshot: nothing(), trouble: absence(invocation) };
      const { TopWatch } = await import('./top-snapshot.ts');
      const { workerSettings } = await import('./temporal-client.ts');
      const queueOf = poolQueueOf(workerSettings(invocation, paths));
      watch ??= new TopWatch({ store, work: paths.work, queueOf });
      try {
        return { snapshot: await watch.look(client), trouble: '' };
      } catch (error) {
        await drop();
        return { snapshot: nothing(), trouble: `Temporal does not answer: ${String(error)}` };
      }
    },
    close: drop,
  };
}

/** A home without a server has no run at work, which is no trouble. */
function absence({ env }: Invocation): string {
  return env['TEMPORAL_ADDRESS'] ? `Temporal does not answer at ${env['TEMPORAL_ADDRESS']}` : '';
}

function nothing(): TopSnapshot {
  return { at: new Date(), runs: [], stages: [], pools: [], elsewhere: 0 };
}

interface Redraw {
  terminal: Terminal;
  everyMs: number;
}

const otherScreen = '\u001b[?1049h\u001b[?25l';
const ownScreen = '\u001b[?25h\u001b[?1049l';

async function redraw(watch: Watch, { terminal, everyMs }: Redraw): Promise<void> {
  const stop = new StopSignals();
  terminal.out(otherScreen);
  try {
    while (!stop.signal.aborted) {
      const { snapshot, trouble } = await watch.look();
      const lines = [...topText(snapshot, terminal), ...(trouble === '' ? [] : ['', trouble])];
      const shown = lines.slice(0, terminal.rows - 1).map((line) => cut(line, terminal.columns));
      terminal.out(`\u001b[H\u001b[2J${shown.join('\r\n')}`);
      await sleep(everyMs, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  } finally {
    terminal.out(ownScreen);
    stop.close();
    await watch.close();
  }
}

/** Heads are painted, and are never the longest lines. */
function cut(line: string, width: number): string {
  return line.startsWith('\u001b') ? line : line.slice(0, width);
}
