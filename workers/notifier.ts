import type { ActivityDeps } from '../activities/deps.ts';
import { createWebhook } from '../activities/webhook.ts';
import { Failure } from '../core/errors.ts';

/** `FRETSAW_WEBHOOK_URL` gets notices, signed with `FRETSAW_WEBHOOK_SECRET`. */
export function notifierOf(env: NodeJS.ProcessEnv): Pick<ActivityDeps, 'notifier'> {
  const url = env['FRETSAW_WEBHOOK_URL'] || undefined;
  const secret = env['FRETSAW_WEBHOOK_SECRET'] || undefined;
  if (url === undefined) return {};
  if (secret === undefined || !/^whsec_[A-Za-z0-9+/]{32,}=*$/.test(secret)) {
    throw new Failure(
      'BAD_INPUT',
      'FRETSAW_WEBHOOK_SECRET: expected whsec_ and base64 of at least 24 bytes; notices are always signed',
    );
  }
  const complain = (text: string): void => {
    console.error(text);
  };
  return { notifier: createWebhook({ url, secret, complain }) };
}
