import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openStoreAt } from '../store/open-store-at.ts';
import { homePaths, localDomain, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command } from './command.ts';

/** `fretsaw store repair --from <place>`: artifacts that lack bytes get them from another store. */
export const command: Command = {
  async run({ args, env, cwd, terminal, json }) {
    const { values } = parseArgs({ args, options: { from: { type: 'string' } } });
    if (values.from === undefined) throw new UsageError('expected --from <place>');
    const home = homePaths(env, cwd);
    const source = { home: join(home.root, 'repair'), domain: localDomain, trusted: [] };
    const { mended, lost } = await openHomeStore(home).upkeep.repair(openStoreAt(values.from, source));
    if (json) terminal.out(`${JSON.stringify({ mended, lost })}\n`);
    else {
      for (const digest of mended) terminal.out(`mended: ${digest}\n`);
      for (const digest of lost) terminal.out(`lost there, too: ${digest}\n`);
      terminal.out(`${mended.length} mended, ${lost.length} still lack bytes\n`);
    }
    return lost.length === 0 ? exitCodes.ok : exitCodes.failed;
  },
};
