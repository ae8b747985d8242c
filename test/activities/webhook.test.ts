import { createHmac } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import type { Notice } from '../../activities/notify.ts';
import { createWebhook } from '../../activities/webhook.ts';

interface Heard {
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

let server: Server | undefined;
afterEach(() => {
  server?.close();
});

/** A receiver that answers each request with the next of these statuses, then 200. */
async function receiver(statuses: number[]): Promise<{ url: string; heard: Heard[] }> {
  const heard: Heard[] = [];
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (piece: Buffer) => (body += piece.toString()));
    request.on('end', () => {
      heard.push({ headers: request.headers, body });
      response.writeHead(statuses.shift() ?? 200).end();
    });
  });
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, heard };
}

const key = Buffer.from('0123456789abcdef0123456789abcdef');
const secret = `whsec_${key.toString('base64')}`;
const notice: Notice = {
  request: { run: 'run-1', spec: 'puzzle' },
  news: { kind: 'failed', stage: 'distill', code: 'NAN_LOSS', message: 'loss is nan' },
  at: '2026-01-01T00:00:00.000Z',
};

test('a notice is posted as JSON, signed over id, time and body', async () => {
  const { url, heard } = await receiver([]);
  await createWebhook({ url, secret, complain: () => undefined })(notice);
  const [{ headers, body } = { headers: {}, body: '' }] = heard;
  expect(JSON.parse(body)).toEqual({
    type: 'fretsaw.run.failed',
    timestamp: notice.at,
    data: { run: 'run-1', spec: 'puzzle', stage: 'distill', code: 'NAN_LOSS', message: 'loss is nan' },
  });
  const signed = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`;
  expect(headers['webhook-signature']).toBe(
    `v1,${createHmac('sha256', key).update(signed).digest('base64')}`,
  );
});

test('a receiver that fails is asked again, with the same id', async () => {
  const { url, heard } = await receiver([500, 503]);
  await createWebhook({ url, secret, complain: () => undefined })(notice);
  expect(heard).toHaveLength(3);
  expect(new Set(heard.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
});

test('when nobody takes it that is said, and nothing fails', { timeout: 60_000 }, async () => {
  const { url } = await receiver([500, 500, 500, 500, 500]);
  const said: string[] = [];
  await createWebhook({ url, secret, complain: (text) => said.push(text) })(notice);
  expect(said).toEqual(['webhook: failed of run run-1 not told: HTTP 500']);
});
