// Runs specs/studies/seeds.yaml and prints what its reports say together: mean and standard error over seeds.
//
//   npm run study:seeds
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const cli = join(root, 'dist', 'fretsaw.js');
const spec = ['specs/studies/seeds.yaml', '--profile', 'rehearsal'];

const { status } = spawnSync(process.execPath, [cli, 'run', ...spec], { cwd: root, stdio: 'inherit' });
if (status === null || status > 1) process.exit(status ?? 1); // 1: a stage failed, perhaps a gate; the reports may be there
const resolution = JSON.parse(fretsaw('plan', ...spec, '--json'));
const names = resolution.stages.map(({ name }) => name).filter((name) => /^report\[seed=\d+\]$/.test(name));
const reports = names.map((name) => JSON.parse(fretsaw('artifact', 'cat', name, 'report.json')));
console.log(`\n${describe(names, reports)}`);
process.exitCode = status;

function fretsaw(...args) {
  return execFileSync(process.execPath, [cli, ...args], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
}

function describe(names, reports) {
  const models = reports[0].models.map(({ name, label }) => ({ name, label }));
  const efforts = reports[0].models[0].suite.map(({ effort }) => effort);
  const result = (report, model, effort) =>
    report.models.find(({ name }) => name === model).suite.find((row) => row.effort === effort);
  const accuracy = (model, effort) => (report) => 100 * result(report, model, effort).accuracy;
  const mean = (model) => (report) =>
    efforts.reduce((sum, effort) => sum + accuracy(model, effort)(report), 0) / efforts.length;
  const length = (model, effort) => (report) => result(report, model, effort).meanTokens;
  const over = (f) => estimate(reports.map(f));

  const table = [
    row(['mean accuracy, %', ...efforts, 'mean', 'tokens high / low']),
    row(['---', ...efforts.map(() => '---:'), '---:', '---:']),
    ...models.map(({ name, label }) =>
      row([
        label,
        ...efforts.map((effort) => over(accuracy(name, effort))),
        over(mean(name)),
        over((r) => length(name, efforts.at(-1))(r) / length(name, efforts[0])(r), 2),
      ]),
    ),
  ];
  const minus = (a, b) => (report) => a(report) - b(report);
  const high = efforts.at(-1);
  const findings = [
    ['scored minus random removal, mean', over(minus(mean('child'), mean('control')))],
    [
      'distilled, share of the parent’s mean, %',
      over((r) => (100 * mean('distilled')(r)) / mean('parent')(r)),
    ],
    [
      'high-effort RL minus distilled, at high effort',
      over(minus(accuracy('rl_high', high), accuracy('distilled', high))),
    ],
    ['mixed-effort RL minus distilled, mean', over(minus(mean('rl_mixed'), mean('distilled')))],
    [
      'average minus the better of both variants, mean',
      over((r) => mean('average')(r) - Math.max(mean('rl_high')(r), mean('rl_mixed')(r))),
    ],
    ['FP8 with scales minus bf16, mean', over(minus(mean('fp8'), mean('average')))],
    ['FP8 with scale 1.0 minus bf16, mean', over(minus(mean('fp8_unscaled'), mean('average')))],
  ];
  return [
    `Mean and standard error over ${reports.length} seeds (${names.join(', ')}):`,
    '',
    ...table,
    '',
    ...findings.map(([name, value]) => `- ${name}: ${value}`),
  ].join('\n');
}

/** Mean ± standard error of the mean. */
function estimate(values, digits = 1) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
  const error = Math.sqrt(variance / values.length);
  return `${mean.toFixed(digits)} ± ${error.toFixed(digits)}`;
}

function row(cells) {
  return `| ${cells.join(' | ')} |`;
}
