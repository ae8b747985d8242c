import { beforeAll, describe, expect, it } from 'vitest';
import type { Json } from '../../core/canonical-json.ts';
import { isFailure } from '../../core/errors.ts';
import { parseModelConfig } from '../../costs/config.ts';
import { checkCertificate } from '../../selection/certificate.ts';
import { makeProof } from '../../selection/proof.ts';
import { layersOf, select, type Selection } from '../../selection/select.ts';
import { parseSelectSettings } from '../../selection/settings.ts';
import { openSolver, type Solver } from '../../selection/solver.ts';
import { summarise } from '../../selection/summary.ts';
import { parsedScores, rehearsalConfig, scoresDocument } from './fixture.ts';

let solver: Solver;
beforeAll(async () => {
  solver = await openSolver(() => performance.now());
});

const model = parseModelConfig({ value: rehearsalConfig, path: 'config.json' });
const rehearsal = { experts_kept_max: 0.75, full_attention_windowed: 2 };

function selectWith(settings: Record<string, Json>, document: Json = scoresDocument()): Selection {
  const parsed = parseSelectSettings({ value: settings, path: 'select.with' });
  return select(solver, { scores: parsedScores(document), model, settings: parsed });
}

function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (isFailure(error, 'BAD_INPUT')) return error.message;
    throw error;
  }
  throw new Error('expected a failure');
}

describe('a selection', () => {
  it('keeps to the share of experts and windows exactly as many layers as asked', () => {
    const layers = layersOf(selectWith(rehearsal));
    expect(layers.reduce((sum, layer) => sum + layer.experts, 0)).toBeLessThanOrEqual(96);
    expect(layers.filter((layer, index) => index % 2 === 1 && layer.window !== null)).toHaveLength(2);
    expect(layers[1]?.window).toBe(16);
    expect(layers[3]?.window).toBe(16);
  });

  it('spares the layer whose long-context score is bad', () => {
    const layers = layersOf(selectWith(rehearsal, scoresDocument({ longContext: true })));
    expect(layers[1]?.window).toBeNull();
  });

  it('weighs the long-context score as told', () => {
    const layers = layersOf(
      selectWith({ ...rehearsal, long_context_weight: 0 }, scoresDocument({ longContext: true })),
    );
    expect(layers[1]?.window).toBe(16);
  });

  it('is the same for scores a million times smaller', () => {
    expect(layersOf(selectWith(rehearsal, scoresDocument({ scale: 1e-6 })))).toEqual(
      layersOf(selectWith(rehearsal)),
    );
  });

  it('keeps the parent when nothing is asked', () => {
    expect(layersOf(selectWith({}))).toEqual(model.layers);
  });

  it('obeys forced and forbidden choices', () => {
    const settings = {
      ...rehearsal,
      force: [{ layer: 4, experts: 4 }],
      forbid: [{ layer: 1, window: 16 }, { experts: 12 }],
    };
    const layers = layersOf(selectWith(settings));
    expect(layers[4]?.experts).toBe(4);
    expect(layers[1]?.window).toBeNull();
    expect(layers.every((layer) => layer.experts !== 12)).toBe(true);
  });

  it('keeps expert counts on the grid of the expert-parallel size', () => {
    expect(
      layersOf(selectWith({ ...rehearsal, expert_multiple: 8 })).every((layer) => layer.experts % 8 === 0),
    ).toBe(true);
  });

  it('takes counts at least and at most', () => {
    const windowed = (rule: Json): number =>
      layersOf(selectWith({ full_attention_windowed: rule })).filter(
        (layer, i) => i % 2 === 1 && layer.window !== null,
      ).length;
    expect(windowed({ at_least: 3 })).toBe(3);
    expect(windowed({ at_most: 3 })).toBe(0);
  });

  it('holds the memory, time and cache of a scenario', () => {
    const scenario = {
      name: 'long',
      input_tokens: 512,
      output_tokens: 512,
      batch: [1, 8],
      memory_max: 0.8,
      time_max: 0.95,
    };
    const selection = selectWith({ scenarios: [scenario], kv_max: { context: 1024, of_parent: 0.6 } });
    const used = selection.problem.rows.map((row) => row.name);
    expect(used).toEqual([
      'kv_max at 1024 tokens',
      'memory (long, 1 GPU, batch 8)',
      'memory_max (long, 1 GPU, batch 8)',
      'time_max (long, 1 GPU, batch 8)',
    ]);
    expect(selection.tried).toHaveLength(2);
    expect(layersOf(selection)).not.toEqual(model.layers);
  });
});

describe('more ways to ask', () => {
  it('keeps between so many and so many experts in every layer', () => {
    const layers = layersOf(selectWith({ ...rehearsal, experts_per_layer: { min: 8, max: 12 } }));
    expect(layers.every(({ experts }) => experts >= 8 && experts <= 12)).toBe(true);
    expect(messageOf(() => selectWith({ experts_per_layer: { max: 3 } }))).toContain(
      'experts_per_layer 1 to 3',
    );
  });

  it('keeps counts that the expert-parallel size of a scenario divides, and says so where none is left', () => {
    const scenario = { name: 'ep', gpus: 8, expert_parallel: 8, input_tokens: 64, output_tokens: 64 };
    const layers = layersOf(selectWith({ ...rehearsal, scenarios: [scenario] }));
    expect(layers.every(({ experts }) => experts % 8 === 0)).toBe(true);
    const counts = { scenarios: [scenario], experts_per_layer: { max: 4 } };
    expect(messageOf(() => selectWith(counts))).toContain('expert_parallel 8 (ep) takes the last');
    expect(messageOf(() => selectWith({ scenarios: [{ ...scenario, tensor_parallel: 3 }] }))).toContain(
      'a divisor of gpus 8',
    );
  });

  it('lets replicas share the load, so that a throughput needs fewer tokens of each', () => {
    const at = (tensor_parallel: number): number => {
      const scenario = {
        name: 's',
        gpus: 8,
        tensor_parallel,
        input_tokens: 64,
        output_tokens: 64,
        batch: 4,
        time_max: 1,
      };
      const selection = selectWith({ scenarios: [{ ...scenario, throughput_min: 1000 }] });
      return selection.problem.rows.find((row) => row.name.startsWith('throughput_min'))?.limit ?? NaN;
    };
    expect(at(1)).toBeGreaterThan(at(8));
  });

  it('differs from given architectures in as many layers as asked, at the least price', () => {
    const first = selectWith(rehearsal);
    const settings = parseSelectSettings({ value: { ...rehearsal, distance: 3 }, path: 'w' });
    const differFrom = [{ name: 'first', layers: layersOf(first) }];
    const second = select(solver, { scores: parsedScores(scoresDocument()), model, settings, differFrom });
    const unlike = layersOf(second).filter((layer, index) => {
      const before = layersOf(first)[index];
      return layer.experts !== before?.experts || layer.window !== before.window;
    });
    expect(unlike.length).toBeGreaterThanOrEqual(3);
    expect(second.value).toBeGreaterThanOrEqual(first.value);
  });

  it('takes several objectives in their order, each within the slack of those before it', () => {
    const best = selectWith({ experts_kept_max: 0.75 });
    const small = selectWith({
      experts_kept_max: 0.75,
      objectives: [
        { minimise: 'score', slack: 0.2 },
        { minimise: 'kv', context: 4096 },
        { minimise: 'weight_gib' },
      ],
    });
    const [score, kv] = small.objectives;
    expect(score?.value).toBeLessThanOrEqual(best.value * 1.2 + 1e-12);
    expect(score?.value).toBeGreaterThan(best.value);
    expect(kv?.name).toBe('kv at 4096 tokens');
    expect(layersOf(small).filter(({ window }) => window === null).length).toBeLessThan(
      layersOf(best).filter(({ window }) => window === null).length,
    );
    const fast = { name: 'f', input_tokens: 64, output_tokens: 64, batch: 4 };
    const timed = selectWith({ scenarios: [fast], objectives: [{ minimise: 'time', scenario: 'f' }] });
    expect(layersOf(timed).every(({ experts, window }) => experts === 4 && window === 16)).toBe(true);
    expect(messageOf(() => selectWith({ objectives: [{ minimise: 'time', scenario: 'x' }] }))).toContain(
      'scenario',
    );
  });

  it('works for a model that routes a token to one expert, and keeps as few as one', () => {
    const one = parseModelConfig({ value: { ...rehearsalConfig, num_experts_per_tok: 1 }, path: 'c' });
    const document = scoresDocument();
    const layers = (document['layers'] as Record<string, Json>[]).map((layer) => ({
      ...layer,
      expert_choices: [
        { experts: 1, score: 0.2, standard_error: null },
        { experts: 16, score: 0 },
      ],
    }));
    const scenario = { name: 's', input_tokens: 64, output_tokens: 64, batch: 1, time_max: 0.999 };
    const settings = parseSelectSettings({
      value: { experts_kept_max: 0.5, scenarios: [scenario] },
      path: 'w',
    });
    const selection = select(solver, { scores: parsedScores({ ...document, layers }), model: one, settings });
    expect(layersOf(selection).filter(({ experts }) => experts === 1).length).toBeGreaterThanOrEqual(4);
  });
});

describe('a proof', () => {
  it('says of each layer what keeping all would cost, and what noise would make of it', () => {
    const settings = parseSelectSettings({ value: { ...rehearsal, noise_samples: 30 }, path: 'w' });
    const document = scoresDocument();
    const layers = (document['layers'] as { expert_choices: { score: number }[] }[]).map((layer) => ({
      ...layer,
      expert_choices: layer.expert_choices.map((choice) => ({ ...choice, standard_error: choice.score / 2 })),
    })) as unknown as Json[];
    const selection = selectWith(rehearsal, { ...document, layers });
    const proof = makeProof(solver, { selection, model, settings }) as {
      value: number;
      layers: {
        experts: number;
        keepingAll: number;
        stability: number;
        flipsTo: { experts: number } | null;
      }[];
      pareto: { points: { value: number }[] };
    };
    for (const layer of proof.layers) {
      expect(layer.keepingAll).toBeGreaterThanOrEqual(0);
      expect(layer.flipsTo === null).toBe(layer.stability === 1);
    }
    expect(proof.layers.some(({ keepingAll }) => keepingAll > 0)).toBe(true);
    expect(proof.layers.some(({ stability }) => stability < 1)).toBe(true);
    expect(proof.pareto.points.length).toBe(20);
    const forced = selectWith(
      { ...rehearsal, force: [{ layer: 1, experts: 16, window: null }] },
      { ...document, layers },
    );
    expect(proof.value + (proof.layers[1]?.keepingAll ?? NaN)).toBeCloseTo(forced.value, 12);
  });

  it('sets references beside the selection: what they cost and gain, and the best at their budget', () => {
    const scenario = { name: 's', input_tokens: 64, output_tokens: 64, parent_kv: 'bf16', batch: 4 };
    const value = { ...rehearsal, scenarios: [scenario], noise_samples: 0 };
    const settings = parseSelectSettings({ value, path: 'w' });
    const selection = selectWith(value);
    const even = model.layers.map((layer, index) => ({
      experts: 12,
      window: index === 5 || index === 7 ? 16 : layer.window,
    }));
    const unscored = even.map((layer, index) => (index === 0 ? { ...layer, experts: 13 } : layer));
    const references = [
      { name: 'even', layers: even },
      { name: 'unscored', layers: unscored },
    ];
    const proof = makeProof(solver, { selection, model, settings, references });
    const [first, second] = (proof as { references: Record<string, unknown>[] }).references;
    expect(first).toMatchObject({ name: 'even', missing: [], gains: [{ name: 's' }] });
    const own = first?.['sameBudget'] as { value: number; layersUnlike: number };
    expect(own.value).toBeLessThan(first?.['value'] as number);
    expect(own.layersUnlike).toBeGreaterThan(0);
    expect(second).toMatchObject({
      missing: ['layer 0: 13 experts, window 16'],
      value: null,
      sameBudget: null,
    });
    const page = summarise({ value: proof, path: 'proof.json' });
    expect(page).toContain('| constraint | limit | used | left | price a unit |');
    expect(page).toContain('## even');
    expect(page).toContain('At its budget the best selection has');
    expect(page).toContain('choices that were not scored: layer 0: 13 experts, window 16');
  });

  it('holds what is needed to check it again without a solver', () => {
    const settings = parseSelectSettings({ value: rehearsal, path: 'w' });
    const selection = selectWith(rehearsal, scoresDocument({ longContext: true }));
    const proof: unknown = JSON.parse(JSON.stringify(makeProof(solver, { selection, model, settings })));
    expect(proof).toMatchObject({ schema: 'fretsaw/selection-proof/v1', status: 'optimal', gap: 0 });
    const read = proof as {
      multipliers: number[];
      problem: Selection['problem'] & { picks: number[] };
      lpBound: number;
      value: number;
    };
    const check = checkCertificate(read.problem, read.problem.picks, {
      multipliers: read.multipliers,
      maximumNodes: 1e6,
    });
    expect(check.optimality).toBe('proven');
    expect(check.bound).toBe(read.lpBound);
    expect(check.value).toBe(read.value);
  });

  it('shows simpler ways to be no better, and coarse grids to cost', () => {
    const settings = parseSelectSettings({ value: rehearsal, path: 'w' });
    const selection = selectWith(rehearsal);
    const proof = JSON.parse(JSON.stringify(makeProof(solver, { selection, model, settings }))) as {
      value: number;
      baselines: {
        homogeneous: { value: number; experts: number };
        greedy: { value: number };
        random: { mean: number; best: number };
      };
      grid: { multiple: number; value: number | null }[];
      pareto: { points: { limit: number; value: number }[] };
      alternatives: { value: number }[];
    };
    expect(proof.baselines.homogeneous.experts).toBe(12);
    for (const value of [
      proof.baselines.homogeneous.value,
      proof.baselines.greedy.value,
      proof.baselines.random.best,
    ]) {
      expect(value).toBeGreaterThanOrEqual(proof.value);
    }
    expect(proof.baselines.random.mean).toBeGreaterThan(proof.baselines.random.best);
    const prices = proof.grid.map(({ value }) => value ?? Infinity);
    expect([...prices].sort((a, b) => a - b)).toEqual(prices);
    const values = proof.pareto.points.map(({ value }) => value);
    expect([...values].sort((a, b) => b - a)).toEqual(values);
    expect(proof.alternatives.map(({ value }) => value >= proof.value)).toEqual([true, true, true]);
  });
});

describe('what cannot be had is said', () => {
  it('names the one constraint that is impossible, and the best it could be', () => {
    expect(messageOf(() => selectWith({ experts_kept_max: 0.2 }))).toContain(
      'experts_kept_max: at most 0.2 of experts, but the nearest any choice comes is 0.25',
    );
    expect(messageOf(() => selectWith({ full_attention_windowed: 5 }))).toContain(
      'full_attention_windowed: exactly 5 layers, but the nearest any choice comes is 4',
    );
  });

  it('names the smallest set in conflict, and how much each must give way', () => {
    const message = messageOf(() =>
      selectWith({ experts_kept_max: 0.4, experts_kept_min: 0.6, full_attention_windowed: 2 }),
    );
    expect(message).toContain('each of experts_kept_max, experts_kept_min can hold, but not together');
    expect(message).toContain('or, with the least given in all:');
    expect(message).toContain('experts_kept_max: 0.4 of experts would have to become 0.625');
    expect(message).toContain('experts_kept_min: 0.6 of experts would have to become 0.375');
    expect(message).not.toContain('full_attention_windowed');
  });

  it('names the layer without a choice, and the rule that took the last', () => {
    expect(messageOf(() => selectWith({ forbid: [{ layer: 2 }] }))).toContain(
      'layer 2: no choice is left; forbid takes the last of',
    );
    expect(messageOf(() => selectWith({ expert_multiple: 5 }))).toContain(
      'layer 0: no choice is left; expert_multiple 5',
    );
  });

  it('names the layer whose scores are no numbers', () => {
    const document = scoresDocument();
    const layers = document['layers'] as Record<string, Json>[];
    layers[3] = {
      ...layers[3],
      expert_choices: [
        { experts: 8, score: null },
        { experts: 16, score: 0 },
      ],
    };
    expect(messageOf(() => selectWith(rehearsal, document))).toContain('layer 3, choice 1: score is NaN');
  });

  it('refuses scores of another model', () => {
    const document = scoresDocument();
    const layers = document['layers'] as Record<string, Json>[];
    layers[0] = { ...layers[0], experts: 32 };
    expect(messageOf(() => selectWith(rehearsal, document))).toContain("layer 0 is not the model's");
  });

  it('refuses settings it does not know', () => {
    expect(messageOf(() => selectWith({ experts_max: 3 }))).toContain('unknown experts_max');
  });

  it('says which combinations are too many', () => {
    const scenario = { name: 's', input_tokens: 8, output_tokens: 8, throughput_min: 1 };
    expect(messageOf(() => selectWith({ scenarios: [scenario, scenario, scenario] }))).toContain(
      '1000 combinations of batches',
    );
  });
});
