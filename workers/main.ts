import { runWorker } from './run-worker.ts';
import type { WorkerSettings } from './worker-settings.ts';

// The SDK is pinned with everything else: what its later versions will need is nothing for a log.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';
const settings = JSON.parse(process.argv[2] ?? '{}') as WorkerSettings;
await runWorker(settings, process.env);
process.exit(0);
