import { DefaultLogger, Runtime, makeTelemetryFilterString } from '@temporalio/worker';

/** Once a process, before its first worker. Signals are the caller's. */
export function installRuntime(): void {
  Runtime.install({
    logger: new DefaultLogger('WARN'),
    telemetryOptions: { logging: { filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }) } },
    shutdownSignals: [],
  });
}
