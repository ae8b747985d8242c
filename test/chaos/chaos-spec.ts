export const steps = 120;
export const snapshotEvery = 10;
/** Steps between two words of a job: what it computed since is not seen. */
export const tellsEvery = 10;

const training = (seed: number): string => `
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
      evaluate_every: 1000
      evaluate_examples: 1
      final_examples: 1
`;

/** Three trainings of the tiny parent, and a command that reads all that they made. */
export const chaosSpec = `fretsaw: v1
name: chaos
stages:${[1, 2, 3].map(training).join('')}
  sum:
    kind: command
    retry: { attempts: 1000 }
    inputs: { a: train1.checkpoint, b: train2.checkpoint, c: train3.checkpoint }
    with:
      argv: [sh, -c, 'cat "$1"/* "$2"/* "$3"/* | sha256sum > "$4"/sum', sh, "{a}", "{b}", "{c}", "{out}"]
      outputs: { out: out }
`;

export const trainings = 3;
/** Outputs that must be the same bytes however a run was disturbed; curves tell wall time. */
export const comparedOutputs = ['checkpoint', 'out'];
