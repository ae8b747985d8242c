import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createS3Backend } from '../../store/s3/s3-backend.ts';
import { connectS3, type S3Connection } from '../../store/s3/s3-connection.ts';
import { parseS3Location } from '../../store/s3/s3-location.ts';
import { uploadParts } from '../../store/s3/upload-parts.ts';
import type { ObjectBackend } from '../../store/object-backend.ts';

interface Seen {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
}

/**
 * What is asked of a service, at the wire. radosgw has no key service and no roles to assume here, so this
 * says only what is sent; that the rest works against a real service is the other S3 suites' matter.
 */
let seen: Seen[] = [];
let endpoint = '';
let folder = '';
const server = createServer((request, answer) => {
  seen.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers });
  let body = '';
  request.on('data', (part: Buffer) => {
    if (body.length < 2000) body += part.toString('latin1');
  });
  request.on('end', () => {
    if (body.includes('Action=AssumeRole')) answer.end(assumed);
    else if (request.url?.includes('?uploads') === true)
      answer.end('<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>');
    else if (request.method === 'POST')
      answer.end('<CompleteMultipartUploadResult><ETag>"e"</ETag></CompleteMultipartUploadResult>');
    else
      answer
        .writeHead(200, {
          etag: '"e"',
          ...(request.method === 'HEAD' ? { 'content-length': greatBytes } : {}),
        })
        .end();
  });
});
const greatBytes = 65 << 20;
const assumed = `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>
  <SecretAccessKey>of-the-role</SecretAccessKey><SessionToken>session</SessionToken>
  <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`;

beforeEach(async () => {
  seen = [];
  folder = mkdtempSync(join(tmpdir(), 'fretsaw-options-'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  vi.unstubAllEnvs();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

const own = { accessKeyId: 'AKIAOWN', secretAccessKey: 'own' };

function connectionTo(options: string): S3Connection {
  const place = parseS3Location(`s3://models/fretsaw?endpoint=${encodeURIComponent(endpoint)}${options}`);
  return connectS3(place, { credentials: own });
}

function backendAt(options: string): ObjectBackend {
  return createS3Backend({ connection: connectionTo(options), spoolFolder: folder });
}

describe('what the options of a store in S3 put on the wire', () => {
  it.each([
    ['&encryption=AES256', 'AES256', undefined],
    ['&encryption=aws:kms', 'aws:kms', undefined],
    ['&encryption=aws:kms/arn:aws:kms:eu-west-3:1:key/k', 'aws:kms', 'arn:aws:kms:eu-west-3:1:key/k'],
  ])('%s asks for it in every PUT and every upload by parts', async (option, how, key) => {
    await backendAt(option).createMany([{ name: 'blobs/small', content: Buffer.from('small') }]);
    const path = join(folder, 'great');
    writeFileSync(path, Buffer.alloc(greatBytes));
    await uploadParts({ connection: connectionTo(option), name: 'packs/great', path, sizeBytes: greatBytes });
    const creating = seen.filter(
      ({ method, path }) => (method === 'PUT' && !path.includes('partNumber')) || path.includes('?uploads'),
    );
    expect(creating).toHaveLength(2);
    for (const { headers } of creating) {
      expect(headers['x-amz-server-side-encryption']).toBe(how);
      expect(headers['x-amz-server-side-encryption-aws-kms-key-id']).toBe(key);
    }
  });

  it('without encryption asks for none', async () => {
    await backendAt('').createMany([{ name: 'blobs/small', content: Buffer.from('small') }]);
    expect(seen[0]?.headers['x-amz-server-side-encryption']).toBeUndefined();
    expect(seen[0]?.headers['if-none-match']).toBe('*');
  });

  it('path-style puts the bucket into the path, else it is in the name of the host', async () => {
    await backendAt('').head('a');
    expect(seen[0]?.path).toBe('/models/fretsaw/a');
    const place = parseS3Location('s3://models/fretsaw?endpoint=https://s3.example.com&path-style=false');
    const connection = connectS3(place, { credentials: own });
    const asked = await connection.call('asking', async ({ sdk, client }) => {
      const command = new sdk.HeadObjectCommand({ Bucket: 'models', Key: connection.key('a') });
      let host = '';
      client.middlewareStack.add(
        () => async (args) => {
          host = (args.request as { hostname: string; path: string }).hostname;
          throw Object.assign(new Error('seen'), { name: 'NotFound' });
        },
        { step: 'finalizeRequest', priority: 'low' },
      );
      await client.send(command).catch(() => undefined);
      return host;
    });
    expect(asked).toBe('models.s3.example.com');
  });

  it('payload=signed signs what is carried, and unsigned says so', async () => {
    for (const payload of ['signed', 'unsigned'])
      await backendAt(`&payload=${payload}`).createMany([
        { name: `attempts/${payload}`, content: Buffer.from('x') },
      ]);
    expect(seen.map(({ headers }) => headers['x-amz-content-sha256'])).toEqual([
      '2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881',
      'UNSIGNED-PAYLOAD',
    ]);
  });

  it('role is assumed with the own credentials, and what comes of it signs everything', async () => {
    vi.stubEnv('AWS_ENDPOINT_URL_STS', endpoint);
    vi.stubEnv('AWS_REGION', 'eu-west-3');
    await backendAt('&region=eu-west-3&role=arn:aws:iam::1:role/store').head('a');
    const [sts, s3] = seen;
    expect(sts?.headers.authorization).toContain('Credential=AKIAOWN/');
    expect(s3?.headers.authorization).toContain('Credential=ASIAROLE/');
    expect(s3?.headers['x-amz-security-token']).toBe('session');
  });
});
