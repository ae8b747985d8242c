import { createHash, createHmac } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Notice } from './notify.ts';

export interface WebhookOptions {
  url: string;
  /** `whsec_` and base64 of 24 to 64 bytes, as the receiver has it. */
  secret: string;
  /** Told when all tries were in vain. */
  complain: (text: string) => void;
}

const tries = 5;
const timeoutMs = 10_000;

/**
 * Posts notices as signed JSON, by the Standard Webhooks specification, so that any of its libraries
 * can check them. At least once: a notice that is posted twice has the same `webhook-id`.
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export function createWebhook({ url, secret, complain }: WebhookOptions): (notice: Notice) => Promise<void> {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  return async (notice) => {
    const body = bodyOf(notice);
    const id = `msg_${createHash('sha256').update(body).digest('hex').slice(0, 32)}`;
    for (let left = tries, pauseMs = 500; left > 0; left--, pauseMs *= 2) {
      const fault = await post(url, { id, body, key });
      if (fault === undefined) return;
      if (left === 1)
        complain(`webhook: ${notice.news.kind} of run ${notice.request.run} not told: ${fault}`);
      else await sleep(pauseMs);
    }
  };
}

function bodyOf({ request: { run, spec }, news: { kind, ...data }, at }: Notice): string {
  return JSON.stringify({ type: `fretsaw.run.${kind}`, timestamp: at, data: { run, spec, ...data } });
}

interface Message {
  id: string;
  body: string;
  key: Buffer;
}

/** Undefined when it was taken, else why not. */
async function post(url: string, { id, body, key }: Message): Promise<string | undefined> {
  const timestamp = String(Math.floor(Date.now() / 1000));
  const signature = createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64');
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'webhook-id': id,
        'webhook-timestamp': timestamp,
        'webhook-signature': `v1,${signature}`,
      },
      body,
      signal: AbortSignal.timeout(timeoutMs),
    });
    return answer.ok ? undefined : `HTTP ${answer.status}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
