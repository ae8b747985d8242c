import { runWorker } from './run-worker.ts';
import type { WorkerSettings } from './worker-settings.ts';

const settings = JSON.parse(process.argv[2] ?? '{}') as WorkerSettings;
await runWorker(settings, process.env);
process.exit(0);
