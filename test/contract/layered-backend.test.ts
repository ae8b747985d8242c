import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';
import { createDiskBackend } from '../../store/disk/disk-backend.ts';
import { createCache } from '../../store/layers/cache.ts';
import { createLayeredBackend } from '../../store/layers/layered-backend.ts';
import { describeBackend } from './backend-contract.ts';

describe('a place with copies on this host', () => {
  describeBackend(async () => {
    const root = mkdtempSync(join(tmpdir(), 'fretsaw-layers-'));
    const cache = createCache(join(root, 'cache'), 1 << 30);
    return {
      open: () => createLayeredBackend(createDiskBackend(join(root, 'remote')), cache),
      dispose: async () => {
        rmSync(root, { recursive: true, force: true });
      },
    };
  });
});
