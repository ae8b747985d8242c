// What an orchestrator costs beside the work: the same layered graph of /bin/sh stages that each copy
// a file and append their name (so that no two are the same work), in Fretsaw, Snakemake and DVC, on this machine in one run. CPU seconds count every process.
//
//   npm run bench:run -- [--sizes 20,200,2000] [--peers snakemake,dvc] [--limit-s 600]
//
// Peers come from PyPI into a virtual environment of their own; one that cannot be installed is named
// and left out. A peer whose cost at a size is predicted (by its last size) to pass the limit is
// skipped, and said so.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'fretsaw-bench-'));
const peerVenv = join(root, '.fretsaw', 'bench-venv');
const layerWidth = 20;
const options = readOptions(process.argv.slice(2));
const rows = [];

const tools = [fretsaw(), ...options.peers.map((name) => peer(name)).filter(Boolean)];
for (const tool of tools) {
  let lastWall = 0;
  let lastSize = 1;
  for (const size of options.sizes) {
    if ((lastWall * size) / lastSize > options.limitS) {
      rows.push([tool.name, size, 'skipped', `predicted over ${options.limitS} s`, '']);
      continue;
    }
    const walls = await measureTool(tool, size);
    lastWall = Math.max(...walls);
    lastSize = size;
  }
}
printTable();
rmSync(scratch, { recursive: true, force: true });

async function measureTool(tool, size) {
  const dir = join(scratch, `${tool.name}-${size}`);
  mkdirSync(join(dir, 'data'), { recursive: true });
  writeFileSync(join(dir, 'data', 'file'), 'payload\n');
  tool.write(dir, size, {});
  const walls = [];
  const scenario = (name, prepare) => {
    prepare();
    const figures = measure(dir, tool.command(dir), tool.env(dir));
    rows.push([tool.name, size, name, figures.wall_s.toFixed(2), figures.cpu_s.toFixed(2), ran(dir)]);
    walls.push(figures.wall_s);
  };
  scenario('from nothing', () => {});
  scenario('all cached', () => {});
  scenario('touched file', () => utimesSync(join(dir, 'data', 'file'), new Date(), new Date()));
  scenario('changed stage, same output', () => tool.write(dir, size, { first: 'true; ' }));
  scenario('parameter put back', () => tool.write(dir, size, {}));
  if (tool.name === 'fretsaw') await twoAtOnce(tool, size);
  return walls;
}

/** Two runs of one fresh graph at once: each stage must run once, and both must end well. */
async function twoAtOnce(tool, size) {
  const dir = join(scratch, `twice-${size}`);
  mkdirSync(join(dir, 'data'), { recursive: true });
  writeFileSync(join(dir, 'data', 'file'), 'payload\n');
  tool.write(dir, size, {});
  const started = Date.now();
  const codes = await Promise.all([1, 2].map(() => spawned(tool.command(dir), dir, tool.env(dir))));
  const wall = ((Date.now() - started) / 1000).toFixed(2);
  rows.push([tool.name, size, `two runs at once (exits ${codes.join(', ')})`, wall, '', ran(dir)]);
}

function fretsaw() {
  return {
    name: 'fretsaw',
    write: (dir, size, change) => writeFileSync(join(dir, 'spec.yaml'), spec(dir, size, change)),
    command: (dir) => ['node', join(root, 'dist', 'fretsaw.js'), 'run', join(dir, 'spec.yaml'), '--json'],
    env: (dir) => ({ FRETSAW_HOME: join(dir, '.fretsaw') }),
  };
}

function spec(dir, size, change) {
  const stages = graph(size).map(({ name, from }, i) => {
    const log = `echo x >> ${join(dir, 'ran')}; `;
    const script = `${i === 0 ? (change.first ?? '') : ''}${log}cp {a}/file {data}/file; echo ${name} >> {data}/file`;
    return `  ${name}:
    kind: command
    inputs: { a: ${from === null ? 'data' : `${from}.data`} }
    with: { argv: [/bin/sh, -c, ${JSON.stringify(script)}], outputs: { data: data } }`;
  });
  return `fretsaw: v1\nname: overhead\ninputs:\n  data: { dataset: ./data }\nstages:\n${stages.join('\n')}\n`;
}

function peer(name) {
  const bin = join(peerVenv, 'bin', name);
  if (!existsSync(bin)) {
    if (!existsSync(peerVenv)) spawnSync('python3', ['-m', 'venv', peerVenv]);
    spawnSync(join(peerVenv, 'bin', 'pip'), ['install', '-q', name === 'dvc' ? 'dvc' : 'snakemake'], {
      stdio: 'inherit',
    });
  }
  if (!existsSync(bin)) {
    console.log(`${name}: cannot be installed here, left out`);
    return undefined;
  }
  return name === 'snakemake' ? snakemake(bin) : dvc(bin);
}

function snakemake(bin) {
  return {
    name: 'snakemake',
    write(dir, size, change) {
      const nodes = graph(size);
      const rules = nodes.map(({ name, from }, i) => {
        const input = from === null ? 'data/file' : `out/${from}`;
        const script = `${i === 0 ? (change.first ?? '') : ''}echo x >> ran; cp {input} {output}; echo ${name} >> {output}`;
        return `rule ${name}:\n  input: "${input}"\n  output: "out/${name}"\n  shell: ${JSON.stringify(script)}`;
      });
      const all = nodes.map(({ name }) => `"out/${name}"`).join(', ');
      writeFileSync(join(dir, 'Snakefile'), `rule all:\n  input: ${all}\n${rules.join('\n')}\n`);
    },
    command: () => [bin, '--cores', '2', '--quiet', 'all'],
    env: () => ({}),
  };
}

function dvc(bin) {
  return {
    name: 'dvc',
    write(dir, size, change) {
      if (!existsSync(join(dir, '.git'))) {
        spawnSync('git', ['init', '-q'], { cwd: dir });
        spawnSync(bin, ['init', '-q'], { cwd: dir });
        mkdirSync(join(dir, 'out'));
      }
      const stages = graph(size).map(({ name, from }, i) => {
        const input = from === null ? 'data/file' : `out/${from}`;
        const cmd = `${i === 0 ? (change.first ?? '') : ''}echo x >> ran; cp ${input} out/${name}; echo ${name} >> out/${name}`;
        return `  ${name}:\n    cmd: ${JSON.stringify(cmd)}\n    deps: [${input}]\n    outs: [out/${name}]`;
      });
      writeFileSync(join(dir, 'dvc.yaml'), `stages:\n${stages.join('\n')}\n`);
    },
    command: () => [bin, 'repro', '-q'],
    env: () => ({}),
  };
}

/** `size` stages in layers of 20; each takes the file of one stage of the layer before. */
function graph(size) {
  return Array.from({ length: size }, (_, i) => ({
    name: `s${i}`,
    from: i < layerWidth ? null : `s${i - layerWidth}`,
  }));
}

/** How many stages have really run since the last look: each appends a line. */
function ran(dir) {
  const file = join(dir, 'ran');
  if (!existsSync(file)) return '0';
  const count = readFileSync(file, 'utf8').split('\n').length - 1;
  rmSync(file);
  return String(count);
}

function measure(dir, command, env) {
  const report = join(scratch, 'figures.json');
  const ended = spawnSync('python3', [join(root, 'infra/bench/measure.py'), report, ...command], {
    cwd: dir,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (ended.status !== 0) console.log(`exit ${ended.status}: ${command.join(' ')}\n${ended.stderr}`);
  return JSON.parse(readFileSync(report, 'utf8'));
}

function spawned([command, ...args], cwd, env) {
  return new Promise((done) => {
    spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: 'ignore' }).on('close', done);
  });
}

function printTable() {
  const head = ['tool', 'stages', 'scenario', 'wall s', 'CPU s', 'stages run'];
  const widths = head.map((text, i) =>
    Math.max(text.length, ...rows.map((row) => String(row[i] ?? '').length)),
  );
  for (const row of [head, ...rows]) {
    console.log(
      row
        .map((cell, i) => String(cell ?? '').padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    );
  }
}

function readOptions(args) {
  const value = (name, fallback) => {
    const at = args.indexOf(`--${name}`);
    return at === -1 ? fallback : (args[at + 1] ?? fallback);
  };
  return {
    sizes: value('sizes', '20,200,2000').split(',').map(Number),
    peers: value('peers', 'snakemake,dvc').split(',').filter(Boolean),
    limitS: Number(value('limit-s', '600')),
  };
}
