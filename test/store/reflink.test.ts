import { appendFileSync, chmodSync, mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { randomFillSync } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openDiskStore } from '../../store/open-disk-store.ts';
import { mountXfs } from '../support/small-disk.ts';

it('a view and an export share blocks with the store where the file system can, and nothing else', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'fretsaw-reflink-'));
  const disk = mountXfs(folder);
  try {
    if (disk === undefined) return context.skip('no xfs here: it needs root, a loop device and xfsprogs');
    const store = openDiskStore({ home: join(disk.path, 'home'), domain: 'local', trusted: [] });
    const bytes = randomFillSync(Buffer.alloc(6 << 20));
    const { digest } = await store.artifacts.putFiles(new Map([['model.bin', bytes]]), { type: 'folder' });
    const usedBytes = (): number => {
      const { bsize, blocks, bfree } = statfsSync(disk.path);
      return (blocks - bfree) * bsize;
    };
    const before = usedBytes();
    const view = await store.artifacts.view(digest);
    await store.artifacts.export(digest, join(disk.path, 'out'));
    expect(usedBytes() - before).toBeLessThan(1 << 20); // two copies would be 12 MiB
    expect(readFileSync(join(view, 'model.bin')).equals(bytes)).toBe(true);

    const changed = join(disk.path, 'out', 'model.bin');
    chmodSync(changed, 0o644);
    appendFileSync(changed, 'more');
    expect(readFileSync(join(view, 'model.bin')).equals(bytes)).toBe(true);
    expect(Buffer.from(await store.artifacts.readFile(digest, 'model.bin')).equals(bytes)).toBe(true);
  } finally {
    disk?.unmount();
    rmSync(folder, { recursive: true, force: true });
  }
});
