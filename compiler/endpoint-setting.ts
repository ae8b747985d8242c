import { integer, list, number, record, secret, text, type ObjectSetting } from '../kinds/setting.ts';

/** `resources.endpoint`: which server answers and how much may be asked of it; read by evaluation/endpoint/endpoint-settings.ts. */
function serverSetting(description: string): ObjectSetting {
  return record(description, properties);
}

const properties = {
  url: text('Of a server that is up, without /v1; absent where `launch` starts one.', { minLength: 1 }),
  launch: list(
    'Argv of a server that the job starts and stops; {model} is the folder of the verified checkpoint, {port} a free port; in a stage of kind measure {tensor_parallel} GPUs a replica and {data_parallel} replicas.',
    text('Word.'),
    { minItems: 1 },
  ),
  model: text('What the server calls the model.', { default: 'model', minLength: 1 }),
  api_key: secret,
  concurrency: integer('Most requests open at once; the runner finds how many the server copes with.', {
    default: 64,
    minimum: 1,
  }),
  tries: integer('Tries of one request.', { default: 6, minimum: 1 }),
  silence_seconds: number('A stream that is silent for so long is given up.', {
    default: 120,
    exclusiveMinimum: 0,
  }),
  answer_seconds: number('Longest time for one answer.', { default: 7200, exclusiveMinimum: 0 }),
  budget_seconds: number('Wall clock after which the attempt stops asking.', { exclusiveMinimum: 0 }),
  budget_tokens: integer('Tokens after which the attempt stops asking.', { minimum: 1 }),
};

export const endpointSetting = serverSetting('The server that answers, for kinds with `runner: endpoint`.');
export const judgeSetting = serverSetting('The server that judges, for tasks with the scorer `judge`.');
