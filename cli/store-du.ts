import { parseArgs } from 'node:util';
import type { Digest } from '../core/digest.ts';
import { listFinished, listRuns } from '../lineage/run.ts';
import type { Store } from '../store/store.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, type Command } from './command.ts';
import { columns, sizeText } from './table.ts';

/** `fretsaw store du [--by run|stage]`: what takes the room. */
export const command: Command = {
  async run({ args, env, cwd, terminal, json }) {
    const { values } = parseArgs({ args, options: { by: { type: 'string', default: 'run' } } });
    const store = openHomeStore(homePaths(env, cwd));
    const groups = await groupsOf(store, values.by === 'stage');
    const used = await store.upkeep.usage(groups.map(({ artifacts }) => artifacts));
    const rows = groups.map(({ name }, n) => ({
      name,
      ...(used[n] ?? { logicalBytes: 0, ownBytes: 0, sharedBytes: 0 }),
    }));
    if (json) {
      terminal.out(`${JSON.stringify({ groups: rows })}\n`);
      return exitCodes.ok;
    }
    const cells = rows.map((row) => [
      row.name,
      sizeText(row.logicalBytes),
      sizeText(row.ownBytes),
      sizeText(row.sharedBytes),
    ]);
    const head = [values.by === 'stage' ? 'stage' : 'run', 'as files', 'its own', 'shared'];
    terminal.out(columns([head, ...cells], ['left', 'right', 'right', 'right']));
    return exitCodes.ok;
  },
};

interface Group {
  name: string;
  artifacts: Digest[];
}

/** Artifacts by the runs, or stages of runs, that made or used them; then those that no run has. */
async function groupsOf(store: Store, byStage: boolean): Promise<Group[]> {
  const groups = new Map<string, Set<Digest>>();
  const loose = new Set(await store.artifacts.list());
  for (const run of await listRuns(store.documents)) {
    for (const { stage, outputs = {} } of (await listFinished(store.documents, run)).at(-1)?.stages ?? []) {
      const name = byStage ? stage : run;
      const group = groups.get(name) ?? new Set();
      groups.set(name, group);
      for (const { digest } of Object.values(outputs)) {
        group.add(digest);
        loose.delete(digest);
      }
    }
  }
  groups.set('(no ended run)', loose);
  return [...groups].map(([name, artifacts]) => ({ name, artifacts: [...artifacts] }));
}
