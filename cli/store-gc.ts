import { parseArgs } from 'node:util';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command } from './command.ts';
import { keptArtifacts } from './store-roots.ts';
import { columns, sizeText } from './table.ts';

/** `fretsaw store gc`: removes what no release, pin or run keeps. */
export const command: Command = {
  async run({ args, env, cwd, installation, terminal, json }) {
    const { values } = parseArgs({
      args,
      options: {
        'dry-run': { type: 'boolean', default: false },
        grace: { type: 'string', default: '7d' },
        runs: { type: 'string', default: '3' },
      },
    });
    const store = openHomeStore(homePaths(env, cwd));
    const graceMs = parseDuration(values.grace);
    const runs = parseCount(values.runs);
    const roots = () => keptArtifacts(store, { installationRoot: installation.root, runs });
    const report = await store.upkeep.collect({ roots, graceMs, dryRun: values['dry-run'] });
    if (json) {
      terminal.out(`${JSON.stringify({ dryRun: values['dry-run'], ...report })}\n`);
      return exitCodes.ok;
    }
    const rows = report.objects.map(({ name, sizeBytes }) => [name, sizeText(sizeBytes)]);
    if (rows.length > 0) terminal.out(columns(rows, ['left', 'right']));
    const verb = values['dry-run'] ? 'would go' : 'gone';
    terminal.out(
      `${report.objects.length} objects, ${sizeText(report.bytes)}, ${verb}; ${sizeText(report.keptBytes)} stay\n`,
    );
    return exitCodes.ok;
  },
};

const unitMs: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `30m`, `12h`, `7d`. */
function parseDuration(text: string): number {
  const [, count = '', unit = ''] = /^(\d+)([mhd])$/.exec(text) ?? [];
  const ms = Number(count) * (unitMs[unit] ?? Number.NaN);
  if (count === '' || !Number.isSafeInteger(ms))
    throw new UsageError(`--grace: expected e.g. 12h or 7d, found ${text}`);
  return ms;
}

function parseCount(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new UsageError(`--runs: expected a number, found ${text}`);
  return Number(text);
}
