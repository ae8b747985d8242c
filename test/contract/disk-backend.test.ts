import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';
import { createDiskBackend } from '../../store/disk/disk-backend.ts';
import { describeBackend } from './backend-contract.ts';

describe('a folder on disk', () => {
  describeBackend(async () => {
    const root = mkdtempSync(join(tmpdir(), 'fretsaw-backend-'));
    return {
      open: () => createDiskBackend(root),
      dispose: async () => {
        rmSync(root, { recursive: true, force: true });
      },
    };
  });
});
