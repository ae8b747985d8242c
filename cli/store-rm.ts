import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { hexOf } from '../core/digest.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command } from './command.ts';
import { findArtifact } from './find-artifact.ts';
import { sizeText } from './table.ts';

/** `fretsaw store rm <artifact> --tombstone --reason <text>`: removes an artifact for good; its lineage stays. */
export const command: Command = {
  async run({ args, env, cwd, terminal, json }) {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { tombstone: { type: 'boolean', default: false }, reason: { type: 'string', default: '' } },
    });
    const [name, ...more] = positionals;
    if (name === undefined || more.length > 0) throw new UsageError('expected one <artifact>');
    if (!values.tombstone || values.reason.trim() === '')
      throw new UsageError('what is removed stays removed: say so with --tombstone --reason <text>');
    const home = homePaths(env, cwd);
    const store = openHomeStore(home);
    const digest = await findArtifact(store, name);
    const freed = await store.upkeep.bury(digest, values.reason);
    rmSync(join(home.root, 'views', hexOf(digest)), { recursive: true, force: true });
    terminal.out(
      json
        ? `${JSON.stringify({ digest, reason: values.reason, ...freed })}\n`
        : `${digest}: ${sizeText(freed.removedBytes)} removed; ${sizeText(freed.sharedBytes)} stay, other artifacts need them\n`,
    );
    return exitCodes.ok;
  },
};
