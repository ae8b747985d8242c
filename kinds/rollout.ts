import { choice, integer, number, record, secret } from './setting.ts';

/** Who writes answers, for `generate` and for RL alike. */
export const rollout = record(
  'Who writes the answers.',
  {
    engine: choice(
      'transformers: the job itself; vllm: vLLM inside the job; server: an endpoint with token ids, shown to serve this model first (RL: vllm serve with a weight-transfer engine).',
      ['transformers', 'vllm', 'server'],
      'transformers',
    ),
    url: { ...secret, description: 'Engine server: the secret that holds its base URL.' },
    concurrency: integer('Engine server: requests in flight.', { default: 64, minimum: 1 }),
    tolerance: number(
      'How far log probabilities of the answers may be from the model’s on average, in nats a token: of a server at its proof (ten times what bfloat16 makes when absent), in RL at every step.',
      { exclusiveMinimum: 0 },
    ),
  },
  { default: { engine: 'transformers', concurrency: 64 } },
);
