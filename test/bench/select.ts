/**
 * `npm run bench:select [-- <seeds> [--solve-only]]`: the same 120B-size instances here, with PuLP and CBC formulated as the public
 * peer does (raw scores, raw rows), and with highspy on the same raw model. CPU seconds, the score of
 * each answer recomputed from the original numbers, and the ratio of times.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseModelConfig } from '../../costs/config.ts';
import { parseJson } from '../../costs/json-reader.ts';
import { isFeasible, valueOf, type ChoiceProblem } from '../../selection/problem.ts';
import { makeProof } from '../../selection/proof.ts';
import { select } from '../../selection/select.ts';
import { parseSelectSettings } from '../../selection/settings.ts';
import { openSolver } from '../../selection/solver.ts';
import { largeScores, releasedBudget } from '../selection/large-instance.ts';

const root = new URL('../..', import.meta.url).pathname;
const home = join(root, '.fretsaw', 'bench-select');
const [seedList = '1,2,3', ...flags] = process.argv.slice(2);
const seeds = seedList.split(',').map(Number);
const hasProof = !flags.includes('--solve-only');

interface PeerAnswer {
  solver: string;
  status: string;
  cpuSeconds: number;
  picks: number[] | null;
}

const python = preparePeers();
const [model, child] = ['gpt-oss-120b', 'gpt-oss-puzzle-88b'].map((name) => {
  const config = join(root, 'test/fixtures/configs', `${name}.json`);
  return parseModelConfig(parseJson(readFileSync(config, 'utf8'), config));
});
if (model === undefined || child === undefined) throw new Error('bug: two configs');
const settings = parseSelectSettings({ value: releasedBudget(model, child), path: 'with' });
const solver = await openSolver(() => performance.now());
// The first solves compile the solver, part by part; the figures are of a warm one.
for (const seed of [97, 98, 99]) select(solver, { scores: largeScores(seed), model, settings });

const lines: string[][] = [];
for (const seed of seeds) {
  const before = cpuSeconds();
  const selection = select(solver, { scores: largeScores(seed), model, settings });
  const own = cpuSeconds() - before;
  lines.push([
    `seed ${seed}`,
    'fretsaw',
    selection.kind,
    own.toFixed(2),
    '1.0',
    selection.value.toPrecision(9),
    '1.000000',
  ]);
  for (const answer of solveWithPeers(selection.problem)) {
    const isGood = answer.picks !== null && isFeasible(selection.problem, answer.picks);
    const value = answer.picks === null ? NaN : valueOf(selection.problem, answer.picks);
    lines.push([
      '',
      answer.solver,
      isGood ? answer.status : `${answer.status}, but breaks a row`,
      answer.cpuSeconds.toFixed(2),
      (answer.cpuSeconds / own).toFixed(1),
      value.toPrecision(9),
      (value / selection.value).toFixed(6),
    ]);
  }
  if (!hasProof) continue;
  const proofStart = cpuSeconds();
  makeProof(solver, { selection, model, settings });
  const proofSeconds = cpuSeconds() - proofStart;
  lines.push(['', 'fretsaw, proof and all reports', '', proofSeconds.toFixed(2), '', '', '']);
}
const header = ['instance', 'solver', 'says', 'CPU s', 'time ÷ ours', 'score', 'score ÷ ours'];
const widths = header.map((title, column) =>
  Math.max(title.length, ...lines.map((line) => (line[column] ?? '').length)),
);
for (const line of [header, ...lines])
  console.log(line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '));

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** A virtual environment of its own, made once. */
function preparePeers(): string {
  const program = join(home, 'bin', 'python');
  if (!existsSync(join(home, 'ready'))) {
    mkdirSync(home, { recursive: true });
    execFileSync('python3', ['-m', 'venv', home]);
    execFileSync(program, ['-m', 'pip', 'install', '--quiet', 'pulp==3.3.0', 'highspy==1.16.0', 'numpy'], {
      stdio: 'inherit',
    });
    writeFileSync(join(home, 'ready'), '');
  }
  return program;
}

function solveWithPeers(problem: ChoiceProblem): PeerAnswer[] {
  const instance = join(home, 'instance.json');
  writeFileSync(instance, JSON.stringify(problem));
  const script = join(root, 'test/bench/select_peers.py');
  // HiGHS prints its banner before its options are read: the answer is the last line.
  const printed = execFileSync(python, [script, instance], { encoding: 'utf8', maxBuffer: 1e8 });
  return JSON.parse(printed.trimEnd().split('\n').at(-1) ?? '') as PeerAnswer[];
}
