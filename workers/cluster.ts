import { loadClientConnectConfig, type ClientConnectConfig } from '@temporalio/envconfig';

/** The Temporal cluster that the environment or Temporal's own configuration file names, if any. */
export function namedCluster(env: NodeJS.ProcessEnv): ClientConnectConfig | undefined {
  const set = Object.fromEntries(
    Object.entries(env).filter(([, value]) => value !== undefined && value !== ''),
  );
  const config = loadClientConnectConfig({ overrideEnvVars: set as Record<string, string> });
  return config.connectionOptions.address === undefined || config.connectionOptions.address === ''
    ? undefined
    : config;
}
