import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { programPaths } from '../../workers/worker-settings.ts';
import { root } from './built.ts';
import { freePort } from './free-port.ts';

export interface BareServerOptions {
  /** File of its database; absent: in memory. */
  db?: string;
  flags?: readonly string[];
}

/** A Temporal dev server as it comes, with none of the attributes and settings of a home's own. */
export class BareServer {
  readonly port: number;
  readonly #child: ChildProcess;

  private constructor(port: number, child: ChildProcess) {
    this.port = port;
    this.#child = child;
  }

  static async start({ db, flags = [] }: BareServerOptions = {}): Promise<BareServer> {
    const port = await freePort();
    if (db !== undefined) mkdirSync(dirname(db), { recursive: true });
    const args = ['server', 'start-dev', '--headless', '--ip', '127.0.0.1', '--port', String(port)];
    const file = db === undefined ? [] : ['--db-filename', db];
    const argv = [...args, '--log-level', 'error', ...file, ...flags];
    const server = new BareServer(port, spawn(programPaths.temporal(root), argv, { stdio: 'ignore' }));
    for (const until = Date.now() + 60_000; ;) {
      try {
        await server.ask(async () => undefined);
        return server;
      } catch (error) {
        if (Date.now() > until) throw error;
        await sleep(100);
      }
    }
  }

  /** With a client of the default namespace, once it is there. */
  async ask<T>(question: (client: Client) => Promise<T>): Promise<T> {
    const connection = await Connection.connect({ address: `127.0.0.1:${this.port}` });
    try {
      await connection.workflowService.describeNamespace({ namespace: 'default' });
      return await question(new Client({ connection }));
    } finally {
      await connection.close();
    }
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
  }
}
