import { assembleKind } from './assemble.ts';
import { averageKind } from './average.ts';
import { calibrateKvKind } from './calibrate-kv.ts';
import { commandKind } from './command.ts';
import { distillKind } from './distill.ts';
import { evaluateKind } from './evaluate.ts';
import { exportOnnxKind } from './export-onnx.ts';
import { gateKind } from './gate.ts';
import { generateKind } from './generate.ts';
import { importKind } from './import.ts';
import type { Kind } from './kind.ts';
import { measureKind } from './measure.ts';
import { prepareKind } from './prepare.ts';
import { pretrainKind } from './pretrain.ts';
import { reinforceKind } from './reinforce.ts';
import { reportKind } from './report.ts';
import { scoreBlocksKind } from './score-blocks.ts';
import { scoreExpertsKind } from './score-experts.ts';
import { selectKind } from './select.ts';
import { tasksKind } from './tasks.ts';

/** The vocabulary of a spec, in the order in which a pipeline uses it. */
export const kinds: ReadonlyMap<string, Kind> = new Map(
  [
    importKind,
    prepareKind,
    tasksKind,
    commandKind,
    pretrainKind,
    generateKind,
    scoreExpertsKind,
    scoreBlocksKind,
    selectKind,
    assembleKind,
    distillKind,
    reinforceKind,
    averageKind,
    calibrateKvKind,
    exportOnnxKind,
    evaluateKind,
    measureKind,
    gateKind,
    reportKind,
  ].map((kind) => [kind.name, kind]),
);

/** For names that the compiler has already checked. */
export function kindNamed(name: string): Kind {
  const kind = kinds.get(name);
  if (kind === undefined) throw new Error(`bug: unknown kind ${name}`);
  return kind;
}
