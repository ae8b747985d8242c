// Sets up everything a clone needs, with Node built-ins only: node_modules, .venv, dist. Each part
// leaves a stamp with the digest of what it was made from, so an up-to-date part costs a look.
//
//   node infra/setup/setup.mjs [--system] [--then <step> [arguments ...]]
//
// FRETSAW_TORCH_INDEX  index URL for torch alone (for example PyTorch's public CPU index)
// FRETSAW_PYTHON       the Python to make .venv from (3.11 or newer)
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sourceFolders } from './source-folders.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const venv = join(root, '.venv');
const venvPython = join(venv, 'bin', 'python');
const steps = {
  rehearse: ['node', ['dist/fretsaw.js', 'run', 'specs/gpt-oss-puzzle-88b.yaml', '--profile', 'rehearsal']],
  test: ['node', ['infra/setup/test.mjs']],
};
/** Debian packages that a test suite uses; absent ones are counted as skipped tests. */
const systemPackages = [
  'bubblewrap',
  'radosgw',
  'ceph-mon',
  'ceph-osd',
  'ceph-common',
  'uuid-runtime',
  'memcached',
  'xfsprogs',
  'python3-boto3',
  'curl',
  'slurm-wlm',
  'munge',
];

main();

function main() {
  const args = process.argv.slice(2);
  const then = args.indexOf('--then');
  const own = then === -1 ? args : args.slice(0, then);
  checkNode();
  if (own.includes('--system') || process.env.CI === 'true') {
    installSystemPackages();
    installSwift();
  }
  part('node_modules', nodeInputs, join(root, 'node_modules', '.fretsaw-stamp'), installNodeModules);
  part('.venv', pythonInputs, join(venv, 'fretsaw-stamp'), installVenv);
  part('dist', sourceInputs, join(root, 'dist', '.fretsaw-stamp'), () => {
    run('node', ['infra/setup/build.mjs']);
  });
  if (then === -1) return say('set up; try: npx fretsaw --help');
  const [name, ...rest] = args.slice(then + 1);
  const step = steps[name];
  if (step === undefined) fail(`unknown step ${name}; there are ${Object.keys(steps).join(', ')}`);
  const [command, commandArgs] = step;
  const ended = spawnSync(command, [...commandArgs, ...rest], { cwd: root, stdio: 'inherit' });
  process.exit(ended.status ?? 1);
}

/** Runs `make` unless the stamp says that it was made from the same inputs. */
function part(name, inputs, stamp, make) {
  const digest = () => createHash('sha256').update(inputs().join('\0')).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === digest()) return;
  const started = Date.now();
  say(`setting up ${name} ...`);
  rmSync(stamp, { force: true });
  make();
  writeFileSync(stamp, digest());
  say(`${name} is ready (${((Date.now() - started) / 1000).toFixed(0)} s)`);
}

function nodeInputs() {
  return [process.version.split('.')[0], process.platform, process.arch, read('package-lock.json')];
}

function installNodeModules() {
  // onnxruntime-node's install script would fetch a GPU library that the CPU path does not use.
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], { ONNXRUNTIME_NODE_INSTALL: 'skip' });
}

function pythonInputs() {
  const config = join(venv, 'pyvenv.cfg');
  const made = existsSync(config) ? /^version = (.*)$/m.exec(readFileSync(config, 'utf8'))?.[1] : 'none';
  return [made ?? 'unknown', read('engine/requirements.lock'), process.env.FRETSAW_TORCH_INDEX ?? ''];
}

/** Makes .venv, or mends an old one: another or a broken Python in it means a new one. */
function installVenv() {
  if (existsSync(venv) && !runsPython311(venvPython)) {
    say('.venv has no working Python 3.11 or newer: making it again');
    rmSync(venv, { recursive: true, force: true });
  }
  if (!existsSync(venv)) run(findPython(), ['-m', 'venv', venv]);
  const { torch, others } = lockedPackages();
  const rest = join(venv, 'requirements.lock');
  writeFileSync(rest, others);
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
  run(venvPython, [...pip, '--no-deps', '--require-hashes', '-r', rest]);
  const index = process.env.FRETSAW_TORCH_INDEX;
  run(venvPython, [...pip, torch, ...(index ? ['--index-url', index] : [])]);
  const site = spawnSync(venvPython, ['-c', 'import site; print(site.getsitepackages()[0])'], {
    encoding: 'utf8',
  });
  writeFileSync(join(site.stdout.trim(), 'fretsaw-engine.pth'), `${join(root, 'engine', 'src')}\n`);
}

/** torch stands apart: it has no hash, because its builds differ by index. */
function lockedPackages() {
  const lines = read('engine/requirements.lock').split('\n');
  const torch = lines.find((line) => line.startsWith('torch=='));
  if (torch === undefined) fail('engine/requirements.lock has no torch');
  return { torch, others: lines.filter((line) => line !== torch).join('\n') };
}

function findPython() {
  const names = [process.env.FRETSAW_PYTHON, 'python3', 'python3.13', 'python3.12', 'python3.11'];
  const found = names.find((name) => name && runsPython311(name));
  return found ?? fail('needs Python 3.11 or newer (python3 on PATH, or FRETSAW_PYTHON)');
}

function runsPython311(python) {
  const check = 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))';
  return spawnSync(python, ['-c', check], { stdio: 'ignore' }).status === 0;
}

function installSystemPackages() {
  if (spawnSync('dpkg', ['-s', ...systemPackages], { stdio: 'ignore' }).status === 0) return;
  if (spawnSync('apt-get', ['--version'], { stdio: 'ignore' }).status !== 0) {
    return say('no apt-get here: suites that need system packages will be skipped');
  }
  say(`installing ${systemPackages.join(' ')} ...`);
  const quiet = { DEBIAN_FRONTEND: 'noninteractive' };
  const updated = tryRun('apt-get', ['update', '-qq'], quiet);
  const install = ['install', '-y', '-qq', '--no-install-recommends', ...systemPackages];
  if (!updated || !tryRun('apt-get', install, quiet)) {
    say('could not install them: suites that need them will be skipped');
  }
}

/** A second S3 for tests, in an environment of its own. */
function installSwift() {
  const home = join(root, '.fretsaw', 'swift-venv');
  const python = join(home, 'bin', 'python');
  const wanted = 'infra/dev/swift/requirements.txt';
  const stamp = join(home, 'fretsaw-stamp');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === read(wanted) && runsPython311(python)) return;
  say('installing Swift ...');
  rmSync(home, { recursive: true, force: true });
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '-r', wanted];
  if (tryRun(findPython(), ['-m', 'venv', home]) && tryRun(python, pip)) writeFileSync(stamp, read(wanted));
  else say('could not install it: the suite on a second S3 will be skipped');
}

function sourceInputs() {
  const folders = [...sourceFolders, 'engine/contract'];
  const files = folders.flatMap((folder) => walk(folder)).sort();
  return [...files, 'infra/setup/build.mjs', 'package-lock.json'].flatMap((file) => [file, read(file)]);
}

function walk(folder) {
  const absolute = join(root, folder);
  if (!existsSync(absolute)) return [];
  return readdirSync(absolute, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? walk(join(folder, entry.name)) : [join(folder, entry.name)],
  );
}

function checkNode() {
  const [major = 0] = process.versions.node.split('.').map(Number);
  if (major < 20) fail(`needs Node 20 or newer, this is ${process.version}`);
  mkdirSync(join(root, 'node_modules'), { recursive: true });
}

function run(command, args, env = {}) {
  if (!tryRun(command, args, env)) fail(`${command} ${args.slice(0, 4).join(' ')} ... failed (see above)`);
}

function tryRun(command, args, env = {}) {
  // What set-up says goes to stderr: a command behind it keeps its own stdout clean.
  const ended = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 2, 2],
    env: { ...process.env, ...env },
  });
  return ended.status === 0;
}

function read(path) {
  return readFileSync(join(root, path), 'utf8');
}

function say(text) {
  process.stderr.write(`setup: ${text}\n`);
}

function fail(text) {
  say(text);
  process.exit(1);
}
