import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Failure } from '../core/errors.ts';
import { parseModelConfig, type ModelShape } from '../costs/config.ts';
import { writeEngine } from '../costs/engine-document.ts';
import { fitEngine, type EngineFit } from '../costs/fit.ts';
import { parseJson } from '../costs/json-reader.ts';
import { parseMeasuredPoints } from '../costs/measured-points.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { columns } from './table.ts';

/** `fretsaw costs fit` and `fretsaw costs layout`. */
export const command: Command = {
  async run(invocation) {
    const [action, ...args] = invocation.args;
    if (action === 'fit') return fit({ ...invocation, args });
    if (action === 'layout') {
      const { layout } = await import('./costs-layout.ts');
      return layout({ ...invocation, args });
    }
    throw new UsageError('expected `fit` and a CSV file of measured points, or `layout`, a spec and a stage');
  },
};

/** `fretsaw costs fit <points.csv>`: what the user's own engine makes of the hardware, from measured points. */
function fit({ args, cwd, terminal, json }: Invocation): number {
  const { positionals } = parseArgs({ args, allowPositionals: true, options: {} });
  const [file, ...more] = positionals;
  if (file === undefined || more.length > 0) throw new UsageError('expected one CSV file of measured points');
  const path = resolve(cwd, file);
  const points = parseMeasuredPoints(readText(path), file, modelReader(dirname(path)));
  const found = fitEngine(points);
  const engine = writeEngine(found);
  terminal.out(json ? `${JSON.stringify({ engine, points: found.ratios })}\n` : describe(found, engine));
  return exitCodes.ok;
}

function modelReader(folder: string): (config: string) => ModelShape {
  const known = new Map<string, ModelShape>();
  return (config) => {
    const model = known.get(config) ?? parseModelConfig(parseJson(readText(resolve(folder, config)), config));
    known.set(config, model);
    return model;
  };
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new Failure('BAD_INPUT', `${path}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}

function describe(fit: EngineFit, engine: Record<string, number>): string {
  const factor = (ratio: number | null): string => (ratio === null ? '' : `${ratio.toFixed(3)} ×`);
  const table = columns(
    [
      ['point', 'predicted ÷ measured', 'held out'],
      ...fit.ratios.map(({ name, ratio, heldOut }) => [name, factor(ratio), factor(heldOut)]),
    ],
    ['left', 'right', 'right'],
  );
  const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
  const source =
    fit.ratios.length < 2 ? 'one point cannot be held out; of the published points' : 'of held-out points';
  const lines = Object.entries(engine).map(([name, value]) => `  ${name}: ${value}`);
  return `${table}
band: ${percent(fit.band.mean)} on average, ${percent(fit.band.worst)} at worst (${source})

For the \`with\` of a select stage:

engine:
${lines.join('\n')}
`;
}
