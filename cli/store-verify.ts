import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command } from './command.ts';
import { sizeText } from './table.ts';

/** How often it notes how far it is. */
const noteEveryBytes = 256 << 20;

/** `fretsaw store verify`: whether everything that is kept is what it should be. */
export const command: Command = {
  async run({ args, env, cwd, terminal, json }) {
    const { values } = parseArgs({
      args,
      options: {
        bytes: { type: 'boolean', default: false },
        resume: { type: 'boolean', default: false },
        'mb-per-s': { type: 'string' },
      },
    });
    const home = homePaths(env, cwd);
    const store = openHomeStore(home);
    const place = join(home.root, 'verify', 'after');
    const after = values.resume ? noted(place) : undefined;
    let notedBytes = 0;
    const report = await store.upkeep.verify({
      depth: values.bytes ? 'bytes' : 'structure',
      ...(after === undefined ? {} : { after }),
      ...(values['mb-per-s'] === undefined ? {} : { bytesPerSecond: parseRate(values['mb-per-s']) }),
      progress({ name, bytes }) {
        if (bytes - notedBytes < noteEveryBytes) return;
        notedBytes = bytes;
        mkdirSync(dirname(place), { recursive: true });
        writeFileSync(place, name);
      },
    });
    rmSync(place, { force: true });
    const isGood = report.broken.length + report.incomplete.length === 0;
    if (json) terminal.out(`${JSON.stringify(report)}\n`);
    else {
      for (const line of report.broken) terminal.out(`broken, now in quarantine: ${line}\n`);
      for (const { digest, missing } of report.incomplete)
        terminal.out(`incomplete: ${digest} lacks ${missing.slice(0, 3).join(', ')}\n`);
      const read = values.bytes ? `, ${report.objects} objects with ${sizeText(report.bytes)} read` : '';
      terminal.out(`${report.artifacts} artifacts${read}: ${isGood ? 'all there' : 'see above'}\n`);
    }
    return isGood ? exitCodes.ok : exitCodes.failed;
  },
};

function noted(place: string): string | undefined {
  try {
    return readFileSync(place, 'utf8');
  } catch {
    return undefined; // no look was interrupted: it begins at the beginning
  }
}

function parseRate(text: string): number {
  const rate = Number(text);
  if (!(rate > 0)) throw new UsageError(`--mb-per-s: expected a number above 0, found ${text}`);
  return rate * 1e6;
}
