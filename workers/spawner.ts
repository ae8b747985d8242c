import { serveSpawner } from '../activities/launchers/spawner-process.ts';

serveSpawner();
