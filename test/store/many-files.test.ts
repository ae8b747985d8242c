import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { mountSmall } from '../support/small-disk.ts';

const count = 100_000;
const limitMib = 512;

it('an artifact of 100,000 files is kept, seen to be there and viewed in bounded memory', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'fretsaw-many-'));
  // In memory where that is to be had: some disks take a millisecond to give back the blocks of each file.
  const disk = mountSmall(scratch, 3 << 20);
  const folder = disk?.path ?? scratch;
  try {
    for (let n = 0; n < count; n++) {
      if (n % 1000 === 0) mkdirSync(join(folder, 'in', String(n / 1000)), { recursive: true });
      writeFileSync(join(folder, 'in', String(Math.floor(n / 1000)), `file-${n}`), `content ${n}`);
    }
    const module = fileURLToPath(new URL('../../store/open-disk-store.ts', import.meta.url));
    const script = `
      import { readFileSync } from 'node:fs';
      import { openDiskStore } from ${JSON.stringify(module)};
      const store = openDiskStore({ home: ${JSON.stringify(folder)}, domain: 'local', trusted: [] });
      const { digest } = await store.artifacts.putFolder(${JSON.stringify(join(folder, 'in'))}, { type: 'folder' });
      const missing = await store.artifacts.missing(digest);
      const view = await store.artifacts.view(digest);
      const last = readFileSync(view + '/99/file-99999', 'utf8');
      const { files } = await store.artifacts.manifest(digest);
      const peakMib = process.resourceUsage().maxRSS / 1024;
      console.log(JSON.stringify({ files: files.length, missing, last, peakMib }));`;
    const out = execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script]);
    const { peakMib, ...said } = JSON.parse(out.toString()) as { peakMib: number };
    expect(said).toEqual({ files: count, missing: [], last: 'content 99999' });
    expect(peakMib).toBeLessThan(limitMib);
  } finally {
    disk?.unmount();
    rmSync(scratch, { recursive: true, force: true });
  }
  // 15 s on idle cores; the limit catches another order of growth on busy ones.
}, 300_000);
