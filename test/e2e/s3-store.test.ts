import { randomBytes } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CliRig } from '../support/cli-rig.ts';
import { radosgwIsMissing } from '../support/radosgw.ts';
import { credentialsOf, makeBucket, type Bucket } from '../contract/s3-rig.ts';

let rig: CliRig;
let bucket: Bucket;
beforeEach(async () => {
  rig = await CliRig.open();
  bucket = await makeBucket();
}, 300_000);
afterEach(async () => {
  await rig.close();
});

/** What the AWS SDK reads by itself. */
function environment(): Record<string, string> {
  const { accessKeyId, secretAccessKey } = credentialsOf(bucket.server);
  return {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_ENDPOINT_URL_S3: bucket.server.endpoint,
    AWS_REGION: 'us-east-1',
  };
}

describe.skipIf(radosgwIsMissing() !== undefined)('a run whose store is in S3', { timeout: 240_000 }, () => {
  test('gives the digests of a run on disk, and all of it is there for another host', async () => {
    const seed = randomBytes(4).toString('hex');
    const script = `echo ran >> ${rig.folder}/ran; echo ${seed} "$0" > "$1"/x; cat "$2"/x >> "$1"/x 2>/dev/null; true`;
    const line = (name: string, from: string): string =>
      `  ${name}: { kind: command, ${from === '' ? '' : `inputs: { a: ${from}.out }, `}with: { argv: [sh, -c, '${script}', ${name}, "{out}"${from === '' ? '' : ', "{a}"'}], outputs: { out: out } } }\n`;
    rig.write('a.yaml', `fretsaw: v1\nname: test\nstages:\n${line('first', '')}${line('second', 'first')}`);
    const store = ['--store', `s3://${bucket.name}/runs`];
    const onDisk = await rig.run(['run', 'a.yaml', '--json']);
    const inS3 = await rig.run(['run', 'a.yaml', '--json', ...store], environment());
    expect(inS3.err).not.toContain('Warning');
    expect(JSON.parse(inS3.out)).toMatchObject({ state: 'done', counts: { ran: 2, cached: 0 } });
    expect(outputsOf(inS3.out)).toEqual(outputsOf(onDisk.out));
    expect(rig.lines('ran')).toHaveLength(4);

    rmSync(rig.home, { recursive: true, force: true });
    const again = await rig.run(['run', 'a.yaml', '--json'], {
      ...environment(),
      FRETSAW_STORE: `s3://${bucket.name}/runs`,
    });
    expect(JSON.parse(again.out)).toMatchObject({ counts: { ran: 0, cached: 2 } });
    expect(outputsOf(again.out)).toEqual(outputsOf(onDisk.out));
    expect(existsSync(join(rig.home, 'store'))).toBe(false);

    const shown = await rig.run(['show', 'last', '--json', ...store], environment());
    expect(JSON.parse(shown.out)).toMatchObject({ state: 'done' });
    const file = await rig.run(['artifact', 'cat', 'second.out', 'x', ...store], environment());
    expect(file.out).toBe(`${seed} second\n${seed} first\n`);
    expect((await rig.run(['lineage', 'second.out', ...store], environment())).out).toContain('first');
    const doctor = await rig.run(['doctor', '--json', ...store], environment());
    const checks = (JSON.parse(doctor.out) as { checks: { name: string; state: string; found: string }[] })
      .checks;
    expect(checks.find(({ name }) => name === 's3')).toMatchObject({
      state: 'ok',
      found: expect.stringContaining('create-only PUT atomic') as string,
    });
  });

  test('a store that does not answer, or is not ours, is said so and nothing is run', async () => {
    rig.write(
      'a.yaml',
      'fretsaw: v1\nname: test\nstages:\n  a: { kind: command, with: { argv: [sh, -c, "true"], outputs: { out: out } } }\n',
    );
    const env = { ...environment(), AWS_SECRET_ACCESS_KEY: 'wrong' };
    const refused = await rig.run(['plan', 'a.yaml', '--store', `s3://${bucket.name}/x`], env);
    expect(refused.code).toBe(4);
    expect(refused.err).toContain('the secret key is not that of the access key');
    const gone = await rig.run(['plan', 'a.yaml', '--store', 's3://no-such-bucket/x'], environment());
    expect(gone.code).toBe(4);
    expect(gone.err).toContain('there is no such bucket');
    const unknown = await rig.run(['plan', 'a.yaml', '--store', 's3://b3t/x?acl=public'], environment());
    expect(unknown.err).toContain('no option acl');
  });
});

function outputsOf(out: string): unknown {
  const { stages } = JSON.parse(out) as { stages: Record<string, { outputs?: unknown }> };
  return Object.fromEntries(Object.entries(stages).map(([name, { outputs }]) => [name, outputs]));
}
