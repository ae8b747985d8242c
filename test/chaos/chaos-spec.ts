/** How large the pipeline is that is disturbed. */
export interface ChaosShape {
  trainings: number;
  /** Of each training. */
  steps: number;
  snapshotEvery: number;
}

/** Steps between two words of a job: what it computed since is not seen. */
export const tellsEvery = 10;

const training = (seed: number, { steps, snapshotEvery }: ChaosShape): string => `
  train${seed}:
    kind: pretrain
    retry: { attempts: 1000, stalled: { times: 20, seconds: 8 } }
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
      final_examples: 1
`;

/** Trainings of the tiny parent, and a command that reads all that they made. */
export function chaosSpec(shape: ChaosShape): string {
  const seeds = Array.from({ length: shape.trainings }, (_, index) => index + 1);
  const inputs = seeds.map((seed) => `t${seed}: train${seed}.checkpoint`).join(', ');
  const folders = seeds.map((seed) => `"{t${seed}}"`).join(', ');
  return `fretsaw: v1
name: chaos
stages:${seeds.map((seed) => training(seed, shape)).join('')}
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
export const comparedOutputs = ['checkpoint', 'out'];
