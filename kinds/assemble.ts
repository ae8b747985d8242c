import { copyCost } from './compute.ts';
import type { Kind } from './kind.ts';
import { choice, number, record, seed, settings } from './setting.ts';

export const assembleKind: Kind = {
  name: 'assemble',
  version: 2,
  summary: 'Builds the heterogeneous child: expert and router rows sliced, bytes unchanged.',
  example:
    'child: { kind: assemble, inputs: { model: parent, architecture: select.architecture, ranking: experts.ranking } }',
  with: settings({
    keep: choice(
      'Which experts stay: the best ranked, or (as a control) as many at random.',
      ['ranked', 'random'],
      'ranked',
    ),
    seed,
    rope: record('Position scaling of the child; the parent’s when absent.', {
      factor: number('YaRN factor.', { exclusiveMinimum: 0 }),
    }),
  }),
  inputs: {
    model: { description: 'The parent.', types: ['checkpoint'] },
    architecture: { description: 'Experts and window of each layer.', types: ['architecture'] },
    ranking: { description: 'Order of the experts.', types: ['ranking'] },
  },
  outputs: { checkpoint: 'checkpoint', kept: 'kept' },
  runner: 'engine',
  deterministic: 'yes',
  code: { python: ['fretsaw_engine.stages.assemble'], typescript: [] },
  estimate: copyCost(2),
};
