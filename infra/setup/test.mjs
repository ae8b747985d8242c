// Every check of the project: formats, lint, import arrows, types, then Vitest and pytest. The last
// line counts the tests of both; a failed check fails the run and is named above it.
//
//   npm test              everything
//   npm test -- vitest    one part (checks, vitest, pytest)
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sourceFolders } from './source-folders.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const reports = join(root, 'dist', 'test-reports');
const python = join(root, '.venv', 'bin', 'python');
const bin = (name) => join(root, 'node_modules', '.bin', name);
const checks = [
  ['types', bin('tsc'), ['--noEmit']],
  ['lint', bin('eslint'), ['.', '--cache', '--cache-location', join(root, 'dist', '.eslintcache')]],
  ['format', bin('prettier'), ['--check', '--log-level', 'warn', '.']],
  ['import arrows', bin('depcruise'), ['--config', '.dependency-cruiser.mjs', ...sourceFolders]],
  ['ruff', python, ['-m', 'ruff', 'check', 'engine']],
  ['pyright', bin('pyright'), ['--project', 'engine', '--pythonpath', python]],
];

const only = process.argv.slice(2);
const wanted = (part) => only.length === 0 || only.includes(part);
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });

const failedChecks = wanted('checks') ? await runChecks() : [];
const counts = { passed: 0, failed: 0, skipped: 0 };
if (wanted('vitest')) add(await runVitest());
if (wanted('pytest')) add(await runPytest());
if (failedChecks.length > 0) console.log(`\nfailed checks: ${failedChecks.join(', ')}`);
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exit(failedChecks.length > 0 || counts.failed > 0 || counts.broken ? 1 : 0);

async function runChecks() {
  const failed = [];
  for (const [name, command, args] of checks) {
    const started = Date.now();
    const code = await run(command, args);
    console.log(
      `${code === 0 ? 'ok    ' : 'FAILED'} ${name} (${((Date.now() - started) / 1000).toFixed(1)} s)`,
    );
    if (code !== 0) failed.push(name);
  }
  return failed;
}

async function runVitest() {
  const file = join(reports, 'vitest.json');
  const code = await run(bin('vitest'), [
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile=${file}`,
  ]);
  const report = JSON.parse(readFileSync(file, 'utf8'));
  const suitesBroken = report.testResults.filter(
    (suite) => suite.status === 'failed' && suite.assertionResults.every((test) => test.status !== 'failed'),
  ).length;
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + suitesBroken,
    skipped: report.numPendingTests + report.numTodoTests,
    broken: code !== 0,
  };
}

async function runPytest() {
  const file = join(reports, 'pytest.xml');
  const code = await run(python, ['-m', 'pytest', '-q', '--junitxml', file, 'engine/tests'], {
    OMP_NUM_THREADS: '1',
    PYTHONPATH: join(root, 'engine', 'src'),
  });
  const head = /<testsuite [^>]*>/.exec(readFileSync(file, 'utf8'))?.[0] ?? '';
  const count = (name) => Number(new RegExp(`${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const failed = count('failures') + count('errors');
  return {
    passed: count('tests') - failed - count('skipped'),
    failed,
    skipped: count('skipped'),
    broken: code !== 0,
  };
}

function add(more) {
  counts.passed += more.passed;
  counts.failed += more.failed;
  counts.skipped += more.skipped;
  counts.broken = counts.broken || more.broken;
}

function run(command, args, env = {}) {
  return new Promise((done) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, ...env },
    });
    child.on('error', (error) => {
      console.log(error.message);
      done(127);
    });
    child.on('close', (code) => done(code ?? 1));
  });
}
