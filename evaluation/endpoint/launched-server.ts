import { spawn, type ChildProcess } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../../core/errors.ts';

export interface LaunchOptions {
  /** `{model}` and `{port}` are replaced in every word. */
  argv: readonly string[];
  folder: string;
  env: NodeJS.ProcessEnv;
  /** How long a server may take to load its weights. */
  readyMs: number;
}

export interface LaunchedServer {
  url: string;
  argv: string[];
  close(): Promise<void>;
}

/** Starts a server and waits until it answers; one that ends before that is ENDPOINT_DOWN with its last words. */
export async function launchServer({ argv, folder, env, readyMs }: LaunchOptions): Promise<LaunchedServer> {
  const port = await freePort();
  const words = argv.map((word) => word.replaceAll('{model}', folder).replaceAll('{port}', String(port)));
  const [program = '', ...args] = words;
  const child = spawn(program, args, { env, stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  let told = '';
  child.stderr.on('data', (part: Buffer) => {
    told = (told + part.toString()).slice(-2000);
  });
  let ended: string | undefined;
  child.once('error', (error) => (ended = error.message));
  child.once('exit', (code, signal) => (ended ??= `ended with ${code ?? signal ?? 'nothing'}`));
  const url = `http://127.0.0.1:${port}`;
  const untilMs = performance.now() + readyMs;
  while (ended === undefined && performance.now() < untilMs) {
    if (await answers(url)) return { url, argv: words, close: () => stop(child) };
    await sleep(100);
  }
  await stop(child);
  throw new Failure('ENDPOINT_DOWN', `${words.join(' ')}: ${ended ?? `no answer in ${readyMs} ms`}: ${told}`);
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/v1/models`, { signal: AbortSignal.timeout(5000) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

/** The whole process group: engines start workers of their own. */
async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) =>
    child.once('exit', () => {
      resolve();
    }),
  );
  signalGroup(child.pid, 'SIGTERM');
  const isGone = await Promise.race([gone.then(() => true), sleep(10_000, false)]);
  if (isGone) return;
  signalGroup(child.pid, 'SIGKILL');
  await gone;
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
