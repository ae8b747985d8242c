import { Client, Connection } from '@temporalio/client';
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Failure } from '../core/errors.ts';
import { namedCluster } from '../workers/cluster.ts';
import { dataConverter } from '../workers/data-converter.ts';
import type { HomePaths } from '../workers/home.ts';
import { isFleet, type WorkerSettings } from '../workers/worker-settings.ts';
import { UsageError, type Invocation } from './command.ts';

export function workerSettings({ env, installation }: Invocation, paths: HomePaths): WorkerSettings {
  const place = {
    home: paths.root,
    ...(paths.store === undefined ? {} : { store: paths.store }),
    root: installation.root,
  };
  const isEmbedded = namedCluster(env) === undefined;
  if (isFleet(env)) {
    if (!isEmbedded) return { ...place, isEmbedded, queueSuffix: '@fleet', isShared: true };
    throw new UsageError('FRETSAW_CONTROL=shared needs a cluster: set TEMPORAL_ADDRESS');
  }
  const suffix = isEmbedded
    ? ''
    : `@${createHash('sha256').update(`${hostname()}\0${paths.root}`).digest('hex').slice(0, 12)}`;
  return { ...place, isEmbedded, queueSuffix: suffix };
}

/** `port`: of this home's own server; undefined for the cluster that the environment names. */
export async function connectClient(
  env: NodeJS.ProcessEnv,
  port: number | undefined,
  // A home's own server may be starting; a named cluster that refuses us would do so again.
  tries = port === undefined ? 3 : 100,
): Promise<Client> {
  const named = port === undefined ? namedCluster(env) : undefined;
  const options = port === undefined ? (named?.connectionOptions ?? {}) : { address: `127.0.0.1:${port}` };
  for (let left = tries; ; left--) {
    try {
      const connection = await Connection.connect(options);
      return new Client({
        connection,
        namespace: named?.namespace ?? 'default',
        ...dataConverter(env),
      });
    } catch (error) {
      if (left <= 1)
        throw new Failure('TIMEOUT', `Temporal does not answer: ${String(error)}`, { cause: error });
      await sleep(100);
    }
  }
}
