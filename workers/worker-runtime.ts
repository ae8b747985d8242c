import { DefaultLogger, Runtime, makeTelemetryFilterString } from '@temporalio/worker';

let isInstalled = false;

/** Before a process's first worker; once more changes nothing. Signals are the caller's. */
export function installRuntime(): void {
  if (isInstalled) return;
  isInstalled = true;
  Runtime.install({
    logger: new DefaultLogger('WARN'),
    telemetryOptions: { logging: { filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }) } },
    shutdownSignals: [],
  });
}
