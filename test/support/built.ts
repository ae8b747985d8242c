import { execFileSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withLock } from '../../workers/home-lock.ts';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

const sources = [
  'activities',
  'cli',
  'compiler',
  'core',
  'costs',
  'evaluation',
  'infra/setup',
  'kinds',
  'lineage',
  'report',
  'selection',
  'store',
  'workers',
  'workflows',
];

/** Bundles dist/ again when a source is newer; test files that run at once wait for one build. */
export async function ensureBuilt(): Promise<void> {
  await withLock(join(root, 'node_modules', '.cache', 'fretsaw-build'), async () => {
    const built = modified(join(root, 'dist', 'build.json'));
    if (Math.max(...sources.map((folder) => newest(join(root, folder)))) <= built) return;
    execFileSync(process.execPath, [join(root, 'infra', 'setup', 'build.mjs')], {
      cwd: root,
      stdio: 'inherit',
    });
  });
}

function newest(folder: string): number {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && /\.(ts|mjs|json)$/.test(entry.name),
  );
  return Math.max(0, ...files.map((entry) => modified(join(entry.parentPath, entry.name))));
}

function modified(path: string): number {
  try {
    return statSync(path).mtimeMs;
  } catch {
    return 0;
  }
}
