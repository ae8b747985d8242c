import { DefaultLogger, Runtime, makeTelemetryFilterString, type TelemetryOptions } from '@temporalio/worker';

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

/** Whether anybody takes metrics. */
export function isMeasured(env: NodeJS.ProcessEnv): boolean {
  return metricsOf(env).metrics !== undefined;
}

/**
 * `FRETSAW_METRICS=127.0.0.1:9464`: where Prometheus finds this worker's metrics and Temporal's own.
 * `FRETSAW_METRICS=http://collector:4317`: an OpenTelemetry collector that they are sent to, over gRPC, or
 * over HTTP where the URL ends in `/v1/metrics`.
 */
function metricsOf(env: NodeJS.ProcessEnv): Pick<TelemetryOptions, 'metrics'> {
  const place = env['FRETSAW_METRICS'] ?? '';
  if (place === '') return {};
  if (!place.includes('://')) return { metrics: { prometheus: { bindAddress: place } } };
  const http = place.endsWith('/v1/metrics');
  return { metrics: { otel: { url: place, http, metricsExportInterval: '10s' } } };
}
