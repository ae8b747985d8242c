import { Failure } from '../../core/errors.ts';
import { JsonFields } from '../json-fields.ts';

/** `resources.endpoint` of a stage: how its server is reached, and how much may be asked of it. */
export interface EndpointSettings {
  server: { kind: 'up'; url: string } | { kind: 'launch'; argv: string[] };
  model: string;
  apiKey: string | undefined;
  concurrency: number;
  tries: number;
  silenceMs: number;
  answerMs: number;
  budget: { seconds: number | undefined; tokens: number | undefined };
}

/** `secret` resolves a name; undefined when this worker has none. */
export function readEndpointSettings(
  resources: unknown,
  secret: (name: string) => string | undefined,
  role: 'endpoint' | 'judge' = 'endpoint',
): EndpointSettings {
  const all = JsonFields.of(resources, 'resources');
  if (!all.has(role)) throw new Failure('BAD_INPUT', `this stage needs resources.${role} with url or launch`);
  const fields = all.record(role);
  const [hasUrl, hasLaunch] = [fields.has('url'), fields.has('launch')];
  if (hasUrl === hasLaunch)
    throw new Failure('BAD_INPUT', 'resources.endpoint: give url or launch, and not both');
  const seconds = (name: string, fallback: number): number =>
    (fields.has(name) ? fields.number(name) : fallback) * 1000;
  return {
    server: hasUrl
      ? { kind: 'up', url: fields.text('url').replace(/\/+$/, '').replace(/\/v1$/, '') }
      : { kind: 'launch', argv: fields.texts('launch') },
    model: fields.has('model') ? fields.text('model') : 'model',
    apiKey: readKey(fields, secret),
    concurrency: fields.has('concurrency') ? fields.integer('concurrency', 1) : 64,
    tries: fields.has('tries') ? fields.integer('tries', 1) : 6,
    silenceMs: seconds('silence_seconds', 120),
    answerMs: seconds('answer_seconds', 7200),
    budget: {
      seconds: fields.has('budget_seconds') ? fields.number('budget_seconds') : undefined,
      tokens: fields.has('budget_tokens') ? fields.integer('budget_tokens', 1) : undefined,
    },
  };
}

function readKey(fields: JsonFields, secret: (name: string) => string | undefined): string | undefined {
  if (!fields.has('api_key')) return undefined;
  const name = fields.record('api_key').text('secret');
  const value = secret(name);
  if (value === undefined) throw new Failure('BAD_INPUT', `this worker has no secret ${name}`);
  return value;
}
