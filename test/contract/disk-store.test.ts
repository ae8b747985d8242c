import { mkdtempSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';
import { openDiskStore } from '../../store/open-disk-store.ts';
import { describeArtifacts } from './artifacts-contract.ts';
import { describeNames } from './names-contract.ts';
import { describePieces } from './pieces-contract.ts';
import type { StoreRig } from './store-rig.ts';

async function openDiskRig(): Promise<StoreRig> {
  const home = mkdtempSync(join(tmpdir(), 'fretsaw-store-'));
  const path = (name: string): string => `${home}/store/${name}`;
  return {
    open: (trust = { domain: 'local', trusted: [] }) => openDiskStore({ home, ...trust }),
    objects: async (folder) => {
      try {
        const entries = readdirSync(path(folder), { recursive: true, withFileTypes: true });
        const files = entries.filter((entry) => entry.isFile());
        return files.map((entry) => join(entry.parentPath, entry.name).slice(`${home}/store/`.length)).sort();
      } catch {
        return [];
      }
    },
    read: async (name) => readFileSync(path(name)),
    damage: async (name, change) => {
      const bytes = change(readFileSync(path(name)));
      unlinkSync(path(name));
      writeFileSync(path(name), bytes);
    },
    remove: async (name) => {
      unlinkSync(path(name));
    },
    forgetLocal: async () => {
      rmSync(join(home, 'index'), { recursive: true, force: true });
    },
    dispose: async () => {
      rmSync(home, { recursive: true, force: true });
    },
  };
}

describe('the store on disk', () => {
  describeArtifacts(openDiskRig);
  describeNames(openDiskRig);
  describePieces(openDiskRig);
});
