import { DefaultLogger, Runtime, makeTelemetryFilterString } from '@temporalio/worker';

let isInstalled = false;

/** Before a process's first worker; once more changes nothing. Signals are the caller's. */
export function installRuntime(env: NodeJS.ProcessEnv = {}): void {
  if (isInstalled) return;
  isInstalled = true;
  Runtime.install({
    logger: new DefaultLogger('WARN'),
    telemetryOptions: {
      logging: { filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }) },
      ...metricsOf(env),
    },
    shutdownSignals: [],
  });
}

/** `FRETSAW_METRICS=127.0.0.1:9464`: where Prometheus finds this worker's metrics and Temporal's own. */
export function isMeasured(env: NodeJS.ProcessEnv): boolean {
  return (env['FRETSAW_METRICS'] ?? '') !== '';
}

function metricsOf(env: NodeJS.ProcessEnv): { metrics?: { prometheus: { bindAddress: string } } } {
  return isMeasured(env) ? { metrics: { prometheus: { bindAddress: env['FRETSAW_METRICS'] ?? '' } } } : {};
}
