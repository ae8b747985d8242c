import { choice, integer, record, secret } from './setting.ts';

/** Who writes answers, for `generate` and for RL alike. */
export const rollout = record(
  'Who writes the answers.',
  {
    engine: choice(
      'transformers: the job itself; vllm: vLLM inside the job; server: an endpoint with token ids (RL: trl vllm-serve).',
      ['transformers', 'vllm', 'server'],
      'transformers',
    ),
    url: { ...secret, description: 'Engine server: the secret that holds its base URL.' },
    concurrency: integer('Engine server: requests in flight.', { default: 64, minimum: 1 }),
  },
  { default: { engine: 'transformers', concurrency: 64 } },
);
