import { openDiskStore } from '../../store/open-disk-store.ts';

/**
 * Puts artifacts for ever until it is killed; prints each digest once the store has promised it. For
 * the test that kills it.
 */
const [home = '', seed = ''] = process.argv.slice(2);
const store = openDiskStore({ home, domain: 'local', trusted: [] });
process.stdout.write('ready\n');
for (let n = 0; ; n++) {
  const shared = Buffer.alloc(1500, `shared ${n % 5}`);
  const big = Buffer.alloc((1 << 20) + n, `${seed}/${n}`);
  const files = new Map([
    ['shared', shared],
    ['own', Buffer.from(`${seed} ${n}`)],
    ['big', big],
  ]);
  const { digest } = await store.artifacts.putFiles(files, { type: 'folder' });
  process.stdout.write(`${digest}\n`);
}
