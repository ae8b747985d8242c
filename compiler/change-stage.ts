import type { Json } from '../core/canonical-json.ts';
import { err, ok, type Result } from '../core/result.ts';
import { kindNamed } from '../kinds/registry.ts';
import type { ObjectSetting } from '../kinds/setting.ts';
import { checkMap } from './check-settings.ts';
import type { Diagnostic } from './diagnostic.ts';
import { resourcesSetting } from './how-settings.ts';
import { readOverrides } from './overrides.ts';
import type { Plan, PlannedStage, Resources } from './plan.ts';
import { Faults, sourceFile, type MapNode } from './tree.ts';

export interface StageChange {
  /** Setting -> value as a YAML scalar: asks for something else, so the key is another. */
  with: Readonly<Record<string, string>>;
  /** The same for resources: the key stays. */
  resources: Readonly<Record<string, string>>;
}

/** A planned stage with some settings or resources changed, checked as the spec was. */
export function changeStage(stage: PlannedStage, change: StageChange): Result<PlannedStage, Diagnostic[]> {
  const faults = new Faults();
  const settings = readPart(change.with, {
    option: '--with',
    setting: kindNamed(stage.kind).with,
    faults,
  });
  const resources = readPart(change.resources, { option: '--resource', setting: resourcesSetting, faults });
  if (faults.count > 0) return err(faults.list());
  return ok({
    ...stage,
    with: { ...stage.with, ...settings },
    // The settings that were just checked are the fields of this type.
    resources: { ...stage.resources, ...(resources as Partial<Resources>) },
  });
}

interface Part {
  option: string;
  setting: ObjectSetting;
  faults: Faults;
}

/** Only what was given: the rest stays as it was planned. */
function readPart(
  given: Readonly<Record<string, string>>,
  { option, setting, faults }: Part,
): Record<string, Json> {
  const entries = readOverrides(given, faults);
  if (entries.size === 0) return {};
  const place = { file: sourceFile(option, ''), start: 0, end: 0 };
  const node: MapNode = { kind: 'map', place, entries };
  const optional: ObjectSetting = { ...setting, required: [] };
  const checked = checkMap(node, optional, { faults, path: option, place });
  return Object.fromEntries(Object.entries(checked).filter(([name]) => entries.has(name)));
}

/** The stage, what it needs, and what comes of it. */
export function planAround(plan: Plan, name: string): Plan {
  const byName = new Map(plan.stages.map((stage) => [stage.name, stage]));
  const kept = new Set([name]);
  for (const stage of plan.stages) if (stage.after.some((before) => kept.has(before))) kept.add(stage.name);
  const queue = [...kept];
  for (let at = queue.shift(); at !== undefined; at = queue.shift()) {
    for (const before of byName.get(at)?.after ?? []) {
      if (!kept.has(before)) queue.push(before);
      kept.add(before);
    }
  }
  return { ...plan, stages: plan.stages.filter((stage) => kept.has(stage.name)) };
}
