// The complete rehearsal on disk and on a real S3 (radosgw of this machine), compared output by output; then
// everything that this host keeps of the store in S3 is removed, and the rehearsal is asked for once more.
//
//   npm run rehearse:s3 -- [--spec specs/gpt-oss-puzzle-88b.yaml] [--folder DIR] [--runs DIR]
//
// --runs names a folder whose `disk.json` is the answer of an earlier run on disk: that is then compared with.
// Ends with 1 unless all outputs but those that hold times are equal and the last run is all hits.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = fileURLToPath(new URL('../../../', import.meta.url));
const { values } = parseArgs({
  options: {
    spec: { type: 'string', default: 'specs/gpt-oss-puzzle-88b.yaml' },
    folder: { type: 'string', default: tmpdir() },
    runs: { type: 'string' },
  },
});
const scratch = mkdtempSync(join(values.folder, 'fretsaw-rehearse-s3-'));
const keys = {
  AWS_ACCESS_KEY_ID: 'fretsaw-test',
  AWS_SECRET_ACCESS_KEY: 'fretsaw-secret',
  AWS_REGION: 'us-east-1',
};
const place = 's3://rehearsal/store';
/** Outputs that hold how long something took, and of the gate and the report, which read that. */
const timed = ['timings', 'verdict', 'report'];

try {
  const endpoint = must(join(here, 'start.sh'), [join(scratch, 's3'), '8187', '3387']).trim();
  await makeBucket(endpoint);
  const onS3 = { ...keys, AWS_ENDPOINT_URL_S3: endpoint };
  const disk = diskAnswer();
  const s3 = rehearse('on S3', ['--store', place], { ...onS3, FRETSAW_HOME: join(scratch, 'home') });
  const differing = compare(disk, s3);
  const again = rehearse('on S3, from a host that has nothing', ['--store', place], {
    ...onS3,
    FRETSAW_HOME: join(scratch, 'other-home'),
  });
  const ran = Object.entries(again.stages).filter(([, { kind }]) => kind !== 'cached');
  console.log(`from S3 alone: ${Object.keys(again.stages).length - ran.length} hits, ${ran.length} others`);
  process.exitCode = differing === 0 && ran.length === 0 ? 0 : 1;
} finally {
  spawnSync(join(here, '..', 'stop.sh'), [join(scratch, 's3')]);
  rmSync(scratch, { recursive: true, force: true });
}

function diskAnswer() {
  const kept = values.runs === undefined ? undefined : join(values.runs, 'disk.json');
  if (kept !== undefined && existsSync(kept)) return JSON.parse(readFileSync(kept, 'utf8'));
  const answer = rehearse('on disk', [], { FRETSAW_HOME: join(scratch, 'disk-home') });
  if (kept === undefined) return answer;
  mkdirSync(values.runs, { recursive: true });
  writeFileSync(kept, JSON.stringify(answer));
  return answer;
}

/** What `fretsaw run --json` says at the end. */
function rehearse(how, options, env) {
  const started = Date.now();
  const fretsaw = join(root, 'dist', 'fretsaw.js');
  const out = must(
    process.execPath,
    [fretsaw, 'run', values.spec, '--profile', 'rehearsal', '--json', ...options],
    env,
  );
  const answer = JSON.parse(out);
  if (answer.state !== 'done') throw new Error(`${how}: ${out}`);
  console.log(`${how}: ${JSON.stringify(answer.counts)}, ${((Date.now() - started) / 1000).toFixed(1)} s`);
  return answer;
}

/** How many outputs are not the same bytes, although they hold no times. */
function compare(one, other) {
  const counts = { equal: 0, timed: 0, differing: 0 };
  for (const [stage, { outputs = {} }] of Object.entries(one.stages)) {
    for (const [name, { digest }] of Object.entries(outputs)) {
      const theirs = other.stages[stage]?.outputs?.[name]?.digest;
      if (theirs === digest) counts.equal++;
      else if (theirs !== undefined && timed.includes(name)) counts.timed++;
      else {
        counts.differing++;
        console.log(`differs: ${stage}.${name}: ${digest} on disk, ${theirs} on S3`);
      }
    }
  }
  console.log(`outputs: ${counts.equal} equal, ${counts.differing} differ, ${counts.timed} hold other times`);
  return counts.differing;
}

async function makeBucket(endpoint) {
  const client = new S3Client({
    endpoint,
    region: keys.AWS_REGION,
    forcePathStyle: true,
    credentials: { accessKeyId: keys.AWS_ACCESS_KEY_ID, secretAccessKey: keys.AWS_SECRET_ACCESS_KEY },
  });
  await client.send(new CreateBucketCommand({ Bucket: 'rehearsal' }));
  client.destroy();
}

function must(command, args, env = {}) {
  const ended = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  if (ended.status !== 0)
    throw new Error(`${command} ${args.join(' ')}: exit ${ended.status}\n${ended.stdout}${ended.stderr}`);
  return ended.stdout;
}
