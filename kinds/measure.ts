import { fittedEngine, predictionBand } from '../costs/engine-model.ts';
import { roundSeconds } from '../costs/generation.ts';
import { hardware, hardwareNames } from '../costs/hardware.ts';
import type { Serving } from '../costs/roofline.ts';
import { numberIn, type EstimateInput, type Kind, type Range, type Settings } from './kind.ts';
import { choice, flag, integer, list, number, settings } from './setting.ts';

export const measureKind: Kind = {
  name: 'measure',
  version: 3,
  summary:
    'Throughput and latency of a server by a closed loop over tensor-parallel sizes and concurrencies: the best tokens per second within bounds.',
  example:
    'speed: { kind: measure, inputs: { model: onnx.onnx }, with: { input_tokens: 96, output_tokens: 64, concurrency: [1, 8, 32] } }',
  with: settings(
    {
      runner: choice(
        'onnx: the exported model behind a server of the job’s own; endpoint: that of `resources.endpoint`.',
        ['onnx', 'endpoint'],
        'onnx',
      ),
      client: choice(
        'Who asks: vllm is `vllm bench serve`; auto takes it where it is installed and the runner is endpoint.',
        ['auto', 'closed-loop', 'vllm'],
        'auto',
      ),
      input_tokens: integer('Tokens of every prompt, template included.', { minimum: 1, unit: 'tokens' }),
      output_tokens: integer('Tokens of every answer.', { minimum: 2, unit: 'tokens' }),
      concurrency: list('Requests open at once: one point each.', integer('Requests.', { minimum: 1 }), {
        default: [1, 4, 16, 64],
        minItems: 1,
        uniqueItems: true,
      }),
      tensor_parallel: list(
        'GPUs of one replica: a server each. `resources.endpoint` says {tensor_parallel}, and {data_parallel} for the replicas that fill its GPUs.',
        integer('GPUs.', { minimum: 1 }),
        { default: [1], minItems: 1, uniqueItems: true },
      ),
      expert_parallel: flag(
        'Whole experts are spread over the GPUs of a replica, as the server’s command says.',
        false,
      ),
      kv: choice('Number format of the cache, as the server’s command says.', ['bf16', 'fp8'], 'bf16'),
      hardware: choice(
        'What it runs on, for `fretsaw costs fit`: then points.csv is written.',
        hardwareNames,
      ),
      rounds: integer('Requests of each client in a run.', { default: 2, minimum: 1 }),
      repeats: integer('Runs at every point; the interval is over them.', { default: 3, minimum: 1 }),
      itl_p99_ms: number('A point counts if 99 % of gaps between tokens are at most this.', {
        exclusiveMinimum: 0,
        unit: 'ms',
      }),
      ttft_p99_ms: number('A point counts if 99 % of first tokens come within this.', {
        exclusiveMinimum: 0,
        unit: 'ms',
      }),
    },
    ['input_tokens', 'output_tokens'],
  ),
  inputs: {
    model: {
      description: 'The exported model, or the checkpoint that the server serves.',
      types: ['onnx', 'checkpoint'],
    },
  },
  outputs: { timings: 'timings' },
  runner: 'node',
  deterministic: 'no',
  code: { python: [], typescript: ['activities/measure-job.ts'] },
  estimate: sweepCost,
};

/** GPU seconds of the whole sweep, every server taking all of the stage's GPUs; unknown of a model in this process. */
function sweepCost({ with: settings, resources: { gpus }, model }: EstimateInput): Range | undefined {
  const shape = model?.shape;
  if (shape === undefined || gpus === 0) return undefined;
  const rounds = numbersIn(settings, 'tensor_parallel').flatMap((size) => {
    const serving = servingOf(settings, { gpus: size, replicas: gpus / size });
    return numbersIn(settings, 'concurrency').map((requests) => roundSeconds(shape, serving, requests));
  });
  const once = rounds.reduce(
    (sum, round) => (sum === undefined || round === undefined ? undefined : sum + round),
    0,
  );
  if (once === undefined) return undefined;
  const seconds = gpus * once * (numberIn(settings, 'rounds') ?? 1) * (numberIn(settings, 'repeats') ?? 1);
  const { worst } = predictionBand;
  return { low: seconds * (1 - worst), high: seconds * (1 + worst) };
}

function servingOf(settings: Settings, size: Pick<Serving, 'gpus' | 'replicas'>): Serving {
  return {
    ...{ hardware: hardware['h100-sxm'], engine: fittedEngine, ...size },
    expertParallel: settings['expert_parallel'] === true ? size.gpus : 1,
    inputTokens: numberIn(settings, 'input_tokens') ?? 1,
    outputTokens: numberIn(settings, 'output_tokens') ?? 1,
    kvElementBytes: settings['kv'] === 'fp8' ? 1 : 2,
  };
}

function numbersIn(settings: Settings, name: string): number[] {
  const list = settings[name];
  return Array.isArray(list) ? list.filter((value) => typeof value === 'number') : [];
}
