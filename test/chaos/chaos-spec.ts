/** How large the pipeline is that is disturbed. */
export interface ChaosShape {
  /** Of one process each. */
  trainings: number;
  /** Of each of those. */
  steps: number;
  snapshotEvery: number;
  /** Tokens of the training on two ranks. */
  pairTokens: number;
}

/** Steps between two words of a job: what it computed since is not seen. */
export const tellsEvery = 10;
const pairSnapshotEvery = 25;

/** A freeze of eight seconds is no stall, by itself. */
const retry = 'retry: { attempts: 1000, stalled: { times: 40, seconds: 20 } }';

function pretrain(seed: number, steps: number, snapshotEvery: number): string {
  return `
    kind: pretrain
    ${retry}
    with:
      seed: ${seed}
      model: { layers: 2, hidden: 32, intermediate: 32, experts: 4 }
      steps: ${steps}
      batch_size: 2
      warmup_steps: 5
      drill_most_steps: 20
      snapshot_every: ${snapshotEvery}
      evaluate_every: 100000
      evaluate_examples: 1
      final_examples: 1`;
}

/** A parent, its distillation under torchrun, trainings beside that, and a command that reads all that they made. */
export function chaosSpec(shape: ChaosShape): string {
  const { trainings, steps, snapshotEvery, pairTokens } = shape;
  const seeds = Array.from({ length: trainings }, (_, index) => index + 1);
  const names = [...seeds.map((seed) => `train${seed}`), 'pair'];
  const inputs = names.map((name) => `${name}: ${name}.checkpoint`).join(', ');
  const folders = names.map((name) => `"{${name}}"`).join(', ');
  return `fretsaw: v1
name: chaos
stages:
  parent: ${pretrain(100, 30, 20)}
  rows:
    kind: prepare
    retry: { attempts: 1000 }
    inputs: { tokenizer: parent.checkpoint }
    with: { generator: rehearsal-tasks, split: calibration, with_targets: true, examples: 64, sequence_length: 96 }
  pair:
    kind: distill
    ${retry}
    inputs: { teacher: parent.checkpoint, student: parent.checkpoint, data: rows.data }
    with: { tokens: ${pairTokens}, sequence_length: 96, batch_size: 2, ce_weight: 1, spike_factor: 1000, snapshot_every: ${pairSnapshotEvery} }
    resources: { gpus: 2 }
${seeds.map((seed) => `  train${seed}: ${pretrain(seed, steps, snapshotEvery)}`).join('\n')}
  sum:
    kind: command
    retry: { attempts: 1000 }
    inputs: { ${inputs} }
    with:
      argv: [sh, -c, 'out=$1; shift; for folder; do cat "$folder"/*; done | sha256sum > "$out"/sum', sh, "{out}", ${folders}]
      outputs: { out: out }
`;
}

/** Outputs that must be the same bytes however a run was disturbed; curves tell wall time. */
export const comparedOutputs = ['checkpoint', 'data', 'out'];
