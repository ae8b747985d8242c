import { decodingCost, type Decoding } from './compute.ts';
import { numberIn, type EstimateInput, type Kind } from './kind.ts';
import { effort } from './prepare.ts';
import { choice, integer, list, number, record, seed, settings, text } from './setting.ts';

const cap = integer('Longest answer at this effort.', { minimum: 1, unit: 'tokens' });

export const evaluateKind: Kind = {
  name: 'evaluate',
  version: 4,
  summary:
    'Tasks by efforts, on ONNX Runtime or a server: accuracy, tokens, cap-hit rate, share of answers with a final channel.',
  example:
    'evaluate: { kind: evaluate, inputs: { model: onnx.onnx, tasks: heldout.data }, with: { max_new_tokens: { low: 32, medium: 64, high: 96 } } }',
  with: settings(
    {
      efforts: list('Efforts to evaluate.', effort, {
        default: ['low', 'medium', 'high'],
        minItems: 1,
        uniqueItems: true,
      }),
      runner: choice(
        'onnx: the exported model in the job’s process, on CUDA where `resources.gpus` asks for it; endpoint: the OpenAI-compatible server of `resources.endpoint`, shown to serve this model first.',
        ['onnx', 'endpoint'],
        'onnx',
      ),
      max_new_tokens: record('Longest answer by effort.', { low: cap, medium: cap, high: cap }),
      judge: text('Model that judges, as resources.judge calls it; for tasks with the scorer `judge`.', {
        minLength: 1,
      }),
      samples: integer('Answers to each question where its task does not say: avg@k and maj@k.', {
        default: 1,
        minimum: 1,
        unit: 'answers',
      }),
      batch_size: integer('Examples in one batch.', { default: 32, minimum: 1, unit: 'examples' }),
      temperature: number('Sampling temperature; 0 takes the likeliest token.', {
        default: 0,
        minimum: 0,
        maximum: 5,
      }),
      seed,
    },
    ['max_new_tokens'],
  ),
  inputs: {
    model: {
      description: 'The exported model; a checkpoint for an endpoint.',
      types: ['onnx', 'checkpoint'],
    },
    tasks: { description: 'Examples with checkable answers.', types: ['dataset'] },
  },
  outputs: { results: 'results', timings: 'timings' },
  runner: 'node',
  deterministic: 'cpu',
  code: { python: [], typescript: ['activities/evaluate-job.ts'] },
  estimate: (input) => decodingCost(input, tokensOf(input), decodingOf(input)),
};

function longestOf({ with: settings }: EstimateInput): number[] {
  const { efforts, max_new_tokens: caps } = settings;
  if (!Array.isArray(efforts) || typeof caps !== 'object' || caps === null) return [];
  return Object.entries(caps).flatMap(([name, tokens]) =>
    typeof tokens === 'number' && efforts.includes(name) ? [tokens] : [],
  );
}

function tokensOf(input: EstimateInput): number | undefined {
  const longest = longestOf(input);
  if (input.data === undefined || longest.length === 0) return undefined;
  const perEffort = Math.ceil(input.data.examples / longest.length);
  return longest.reduce((sum, tokens) => sum + tokens * perEffort, 0);
}

/** Exported models decode in this process, each GPU a whole copy; servers take a node's GPUs. */
function decodingOf(input: EstimateInput): Decoding {
  return {
    outputTokens: Math.max(1, ...longestOf(input)),
    batch: numberIn(input.with, 'batch_size') ?? 1,
    engine: input.with['runner'] === 'endpoint' ? 'server' : 'transformers',
    shortest: 1 / 10,
  };
}
