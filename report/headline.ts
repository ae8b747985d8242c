import { effortsOf, modelNamed, suiteAt, type Evidence, type Model, type Verdict } from './evidence.ts';
import { bytes, counted, percent } from './figures.ts';
import { bestGain } from './sections/efficiency.ts';

/** A figure for the head of the report, with what it is. */
export interface Tile {
  value: string;
  name: string;
  tone?: 'good' | 'bad';
}

/** The few figures that answer: how much smaller, how much faster, how much was kept, may it be released. */
export function headline(evidence: Evidence): Tile[] {
  return [
    ...verdictTile(evidence),
    ...retentionTiles(evidence),
    ...gainTile(evidence),
    ...sizeTiles(evidence),
  ];
}

/** The model that the report is about: the last in its order. */
export function subject(evidence: Evidence): Model | undefined {
  const model = evidence.models.at(-1);
  return model === undefined || model.name === evidence.baseline ? undefined : model;
}

function verdictTile({ verdict }: Evidence): Tile[] {
  if (verdict === undefined) return [];
  const held = verdict.rules.filter((rule) => rule.passed).length;
  return [
    {
      value: verdict.passed ? '✓ passed' : verdict.override === null ? '✗ failed' : '✗ overridden',
      name: `the gate: ${held} of ${verdict.rules.length} rules hold${passedBy(verdict)}`,
      tone: verdict.passed ? 'good' : 'bad',
    },
  ];
}

function passedBy({ passed, override }: Verdict): string {
  return passed || override === null ? '' : `; ${override.by} let it pass: ${override.reason}`;
}

function retentionTiles(evidence: Evidence): Tile[] {
  const model = released(evidence);
  const baseline = modelNamed(evidence, evidence.baseline);
  if (model === undefined || baseline === undefined) return [];
  const efforts = effortsOf([model]).reverse();
  return efforts.flatMap((effort) => {
    const own = suiteAt(model, effort);
    const reference = suiteAt(baseline, effort);
    if (own === undefined || reference === undefined || reference.accuracy === 0) return [];
    return [
      {
        value: percent(own.accuracy / reference.accuracy),
        name: `of ${baseline.label}’s accuracy at ${effort} effort (${model.label})`,
      },
    ];
  });
}

function gainTile(evidence: Evidence): Tile[] {
  const model = released(evidence);
  const gain = model === undefined ? undefined : bestGain(evidence, model.name);
  if (gain === undefined) return [];
  return [
    {
      value: `${gain.ratio.toFixed(2)} ×`,
      name: `requests a second at ${gain.effort} effort, as measured here`,
    },
  ];
}

function sizeTiles({ proof }: Evidence): Tile[] {
  if (proof?.size === undefined) return [];
  const { parent, child } = proof.size;
  const longest = proof.kv.at(-1);
  return [
    {
      value: percent(child.experts / parent.experts, 0),
      name: `of the experts kept: ${child.experts} of ${parent.experts}`,
    },
    {
      value: counted(child.parameters),
      name: `parameters, from ${counted(parent.parameters)}; ${bytes(child.bytes)} from ${bytes(parent.bytes)}`,
    },
    ...(longest === undefined
      ? []
      : [
          {
            value: percent(longest.child / longest.parent),
            name: `of the parent’s KV cache at ${longest.context.toLocaleString('en-US')} tokens, at equal precision`,
          },
        ]),
  ];
}

/** The model called for release: `fp8` where there is one, else the last in order. */
function released(evidence: Evidence): Model | undefined {
  return modelNamed(evidence, 'fp8') ?? subject(evidence);
}
