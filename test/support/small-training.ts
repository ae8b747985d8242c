export interface SmallTraining {
  steps: number;
  batchSize: number;
  snapshotEvery: number;
  evaluateEvery: number;
}

/** A stage `train` for a spec's `stages:`, a real training of a nano model. */
export function smallTraining({ steps, batchSize, snapshotEvery, evaluateEvery }: SmallTraining): string {
  return `  train:
    kind: pretrain
    with:
      model: { layers: 2, hidden: 32, intermediate: 32, experts: 4 }
      steps: ${steps}
      batch_size: ${batchSize}
      warmup_steps: 5
      drill_most_steps: 20
      snapshot_every: ${snapshotEvery}
      evaluate_every: ${evaluateEvery}
      evaluate_examples: 1
      final_examples: 1
`;
}
