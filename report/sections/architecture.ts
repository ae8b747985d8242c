import { heatMap } from '../charts/heat-map.ts';
import { layerMap } from '../charts/layer-map.ts';
import { lineChart } from '../charts/line-chart.ts';
import type { Evidence, Layer, LayerCurve, Size } from '../evidence.ts';
import { bytes, counted, grouped, percent, shapeName, significant, windowName } from '../figures.ts';
import { extent } from '../svg.ts';
import { left, right, type Figure, type Section, type Table } from '../section.ts';

export function layerSection(evidence: Evidence): Section | undefined {
  const { layers, proof } = evidence;
  if (layers === undefined) return undefined;
  const kept = total(layers, (layer) => layer.experts);
  const had = total(layers, (layer) => layer.parentExperts);
  const full = layers.filter((layer) => layer.parentWindow === null);
  const windowed = full.filter((layer) => layer.window !== null).length;
  return {
    id: 'layers',
    title: 'The layer map',
    lead: `The child keeps ${kept} of ${had} experts (${percent(kept / had)}), and ${windowed} of the parent’s ${full.length} full-attention layers have a window.`,
    figures: [
      {
        svg: layerMap(layers, 'Experts and attention window of every layer, parent and child'),
        caption: 'Experts kept in each layer, and what each layer attends to.',
      },
    ],
    tables: [...sizeTables(proof), layerTable(layers, evidence)],
    notes:
      proof === undefined
        ? []
        : [
            'Keeping all would cost: by how much the whole score rises if that layer must stay the parent’s, all others chosen anew; a dash where nothing would fit.',
          ],
  };
}

function layerTable(layers: readonly Layer[], { proof }: Evidence): Table {
  return {
    caption: 'Layer by layer',
    columns: [
      right('layer'),
      right('experts, parent'),
      right('child'),
      right('window, parent'),
      right('child'),
      left('what pays for the change'),
      right('keeping all would cost'),
      right('same choice under noise'),
      left('else most often'),
    ],
    rows: layers.map((layer, index) => {
      const reason = proof?.layers[index];
      return [
        String(index),
        String(layer.parentExperts),
        layer.experts === layer.parentExperts
          ? String(layer.experts)
          : { text: String(layer.experts), tone: 'strong' },
        windowName(layer.parentWindow),
        layer.window === layer.parentWindow
          ? windowName(layer.window)
          : { text: windowName(layer.window), tone: 'strong' },
        reason?.pays ?? '',
        significant(reason?.keepingAll, 3),
        percent(reason?.stability, 0),
        reason?.flipsTo === undefined ? '' : shapeName(reason.flipsTo),
      ];
    }),
    isDetail: true,
  };
}

function sizeTables(proof: Evidence['proof']): Table[] {
  if (proof?.size === undefined) return [];
  const { parent, child } = proof.size;
  const line = (name: string, read: (size: Size) => number, write: (value: number) => string): string[] => [
    name,
    write(read(parent)),
    write(read(child)),
    percent(read(child) / read(parent)),
  ];
  return [
    {
      caption: 'Size, computed from the configuration',
      columns: [left(''), right('parent'), right('child'), right('child ÷ parent')],
      rows: [
        line('parameters', (size) => size.parameters, counted),
        line('active parameters a token', (size) => size.activeParameters, counted),
        line('weights as stored', (size) => size.bytes, bytes),
        line('experts', (size) => size.experts, String),
        line('full-attention layers', (size) => size.fullAttentionLayers, String),
        ...proof.kv.map(({ context, parent: before, child: after }) => [
          `KV cache of one sequence at ${grouped(context)} tokens, bf16`,
          bytes(before),
          bytes(after),
          percent(after / before),
        ]),
      ],
    },
  ];
}

export function expertSection(evidence: Evidence): Section | undefined {
  const { ranking } = evidence;
  if (ranking === undefined || ranking.length === 0) return undefined;
  const kept = evidence.kept['child'] ?? Object.values(evidence.kept)[0];
  const rows = ranking.map((experts, layer) => {
    const most = Math.max(...experts.map((expert) => expert.score), 0);
    const count = evidence.layers?.[layer]?.experts ?? experts.length;
    return {
      label: `layer ${layer}`,
      cells: experts.map((expert, rank) => ({
        strength: most > 0 ? expert.score / most : 0,
        isKept: kept?.[layer]?.includes(expert.expert) ?? rank < count,
      })),
    };
  });
  return {
    id: 'experts',
    title: 'What each expert contributes',
    lead: 'Scores over calibration data, as a share of the best expert of the layer. Crossed cells were removed.',
    figures: [
      {
        svg: heatMap({ description: 'Scores of every expert of every layer, best first', rows }),
        caption: 'Experts of each layer, best first.',
      },
    ],
    tables: [
      {
        caption: 'Scores by layer',
        columns: [
          right('layer'),
          right('best'),
          right('median'),
          right('worst'),
          right('worst ÷ best'),
          right('kept'),
        ],
        rows: ranking.map((experts, layer) => {
          const scores = experts.map((expert) => expert.score);
          const [best, middle, worst] = [
            scores[0] ?? 0,
            scores[Math.floor(scores.length / 2)] ?? 0,
            scores.at(-1) ?? 0,
          ];
          const count = rows[layer]?.cells.filter((cell) => cell.isKept).length ?? 0;
          return [
            String(layer),
            significant(best),
            significant(middle),
            significant(worst),
            percent(best === 0 ? 0 : worst / best),
            `${count} of ${experts.length}`,
          ];
        }),
        isDetail: true,
      },
    ],
    notes: [],
  };
}

export function blockSection(evidence: Evidence): Section | undefined {
  const { scores } = evidence;
  if (scores === undefined || scores.length === 0) return undefined;
  return {
    id: 'blocks',
    title: 'What replacing one layer costs',
    lead: 'Each layer was replaced alone, with fewer experts or with a window, and its error measured. All charts have one scale; the circled choice is the one selected.',
    figures: blockFigures(scores, evidence.layers),
    tables: [expertScoreTable(scores), ...windowTables(scores)],
    notes: [],
  };
}

/** A chart a layer; beyond twelve they would be too small to read, and the table says it better. */
function blockFigures(scores: readonly LayerCurve[], layers: readonly Layer[] | undefined): Figure[] {
  if (scores.length > 12) return [];
  const domainY = extent(scores.flatMap((layer) => layer.choices.map((choice) => choice.score)));
  return scores.map((layer) => {
    const points = layer.choices.map((choice) => [choice.experts, choice.score] as const);
    const chosen = points.find(([experts]) => experts === layers?.[layer.layer]?.experts);
    const chart = lineChart({
      description: `Score of layer ${layer.layer} by experts kept`,
      title: `layer ${layer.layer}`,
      xAxis: 'experts kept',
      lines: [{ name: 'error', points }],
      format: (value) => significant(value, 2),
      hasMarks: true,
      domainY,
      xTicks: points.map(([experts]) => experts),
      size: { width: 224, height: 170 },
      ...(chosen === undefined ? {} : { chosen }),
    });
    return { svg: chart, caption: '' };
  });
}

function expertScoreTable(scores: readonly LayerCurve[]): Table {
  const counts = [...new Set(scores.flatMap((layer) => layer.choices.map((choice) => choice.experts)))].sort(
    (a, b) => a - b,
  );
  return {
    caption: 'Error by experts kept',
    columns: [right('layer'), ...counts.map((count) => right(String(count)))],
    rows: scores.map((layer) => [
      String(layer.layer),
      ...counts.map((count) =>
        significant(layer.choices.find((choice) => choice.experts === count)?.score, 3),
      ),
    ]),
    isDetail: true,
  };
}

function windowTables(scores: readonly LayerCurve[]): Table[] {
  const rows = scores.flatMap((layer) =>
    layer.windows
      .filter((choice) => choice.window !== null && layer.windows.length > 1)
      .map((choice) => {
        const long = layer.longContext.find((entry) => entry.window === choice.window);
        return [
          String(layer.layer),
          windowName(choice.window),
          significant(choice.score, 3),
          long === undefined
            ? '–'
            : `${(long.accuracyLoss * 100).toFixed(1)} ± ${(long.standardError * 100).toFixed(1)}`,
          long?.isUndecided === true ? 'within noise' : '',
        ];
      }),
  );
  if (rows.length === 0) return [];
  return [
    {
      caption: 'A window in place of full attention: error, and accuracy lost on long contexts (points)',
      columns: [right('layer'), right('window'), right('error'), right('accuracy lost'), left('')],
      rows,
    },
  ];
}

function total(layers: readonly Layer[], read: (layer: Layer) => number): number {
  return layers.reduce((sum, layer) => sum + read(layer), 0);
}
