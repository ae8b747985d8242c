import { fixedCost } from './compute.ts';
import type { Kind } from './kind.ts';
import { list, settings, text } from './setting.ts';

export const tasksKind: Kind = {
  name: 'tasks',
  version: 2,
  summary:
    'Evaluation tasks as data: task files and the data sets that they pin, as questions with their scorers.',
  example:
    'benchmarks: { kind: tasks, inputs: { definitions: tasks, sources: { mmlu_pro: mmlu_pro }, tokenizer: parent }, with: { tasks: [mmlu-pro, ruler] } }',
  with: settings({
    tasks: list('Names of the tasks; every one of the folder when empty.', text('Task.', { minLength: 1 }), {
      default: [],
      uniqueItems: true,
    }),
  }),
  inputs: {
    definitions: { description: 'Folder of task files (*.yaml).', types: ['dataset'] },
    sources: {
      description: 'Published data sets by the name that tasks use.',
      types: ['dataset'],
      many: 'map',
      optional: true,
    },
    tokenizer: {
      description: 'Checkpoint whose tokenizer counts lengths.',
      types: ['checkpoint', 'onnx'],
      optional: true,
    },
  },
  outputs: { data: 'dataset' },
  runner: 'node',
  deterministic: 'yes',
  code: { python: [], typescript: ['activities/tasks-job.ts'] },
  estimate: fixedCost(0.1, 60),
};
