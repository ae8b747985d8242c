import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createS3Backend } from '../../store/s3/s3-backend.ts';
import { connectS3 } from '../../store/s3/s3-connection.ts';
import { parseS3Location } from '../../store/s3/s3-location.ts';
import { root } from '../support/built.ts';
import { Link } from '../support/link.ts';
import { startRadosgw, type Radosgw } from '../support/radosgw.ts';
import { lasting, secondsBetween, type Fault, type Place } from './place.ts';

/** A store in a bucket of its own, reached over a link that can be cut, hung or slowed; its gateway can be killed. */
export async function openS3Place(folder: string): Promise<Place> {
  const server = await startRadosgw();
  const link = await Link.open(() => Number(new URL(server.endpoint).port));
  const bucket = `chaos-${randomBytes(6).toString('hex')}`;
  const at = (endpoint: string): string =>
    `s3://${bucket}/store?endpoint=${encodeURIComponent(endpoint)}&region=us-east-1`;
  const { accessKeyId, secretAccessKey } = server;
  const connection = connectS3(parseS3Location(at(server.endpoint)), {
    credentials: { accessKeyId, secretAccessKey },
  });
  await connection.call('making a bucket', ({ sdk, client }) =>
    client.send(new sdk.CreateBucketCommand({ Bucket: bucket })),
  );
  const spoolFolder = join(folder, 'spool');
  mkdirSync(spoolFolder);
  return {
    kind: 's3',
    location: at(`http://127.0.0.1:${link.port}`),
    env: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
    faults: [...linkFaults(link), killGateway(server)],
    backend: () => createS3Backend({ connection, spoolFolder }),
    close: () => link.close(),
  };
}

function linkFaults(link: Link): Fault[] {
  const during = (kind: string, longest: number, begin: () => void): Fault =>
    lasting(kind, [1, longest], {
      begin: () => {
        begin();
        return true;
      },
      end: () => {
        link.mend();
      },
    });
  return [
    during('store cut off', 10, () => {
      link.cut();
    }),
    during('store hung', 10, () => {
      link.hang();
    }),
    during('store slowed', 15, () => {
      link.slow(slowMs);
    }),
  ];
}

/** Added to each piece of at most 64 KiB, both ways. */
const slowMs = 150;

/** Requests under way end with the gateway, whether their work was done or not. */
function killGateway({ folder }: Radosgw): Fault {
  const kind = 'store killed';
  return {
    kind,
    inject: async (random) => {
      const seconds = secondsBetween(random, 0, 5);
      process.kill(Number(readFileSync(join(folder, 'run', 'rgw.pid'), 'utf8')), 'SIGKILL');
      await sleep(seconds * 1000);
      await promisify(execFile)(join(root, 'infra', 'dev', 's3', 'gateway.sh'), [folder]);
      return `${kind}, started again after ${seconds.toFixed(1)} s`;
    },
  };
}
