import { NativeConnection, type NativeConnectionOptions } from '@temporalio/worker';
import { setTimeout as sleep } from 'node:timers/promises';
import { namedCluster } from './cluster.ts';
import { findServer } from './embedded-server.ts';
import type { HomePaths } from './home.ts';
import type { WorkerSettings } from './worker-settings.ts';

export interface WorkerConnection {
  connection: NativeConnection;
  namespace: string;
}

/** The named cluster, or the server of this home, which may be starting beside this process. */
export async function connectWorker(
  settings: WorkerSettings,
  paths: HomePaths,
  env: NodeJS.ProcessEnv,
): Promise<WorkerConnection> {
  const named = settings.isEmbedded ? undefined : namedCluster(env);
  const namespace = named?.namespace ?? 'default';
  for (let tries = 0; ; tries++) {
    const options: NativeConnectionOptions | undefined = named?.connectionOptions ?? embeddedOptions(paths);
    try {
      if (options === undefined) throw new Error(`no server at ${paths.temporal}`);
      const connection = await NativeConnection.connect(options);
      await connection.workflowService.describeNamespace({ namespace });
      return { connection, namespace };
    } catch (error) {
      if (tries > 300) throw error;
      await sleep(100);
    }
  }
}

function embeddedOptions(paths: HomePaths): NativeConnectionOptions | undefined {
  const server = findServer(paths.temporal);
  return server === undefined ? undefined : { address: `127.0.0.1:${server.port}` };
}
