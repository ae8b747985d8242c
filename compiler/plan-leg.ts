import type { Json } from '../core/canonical-json.ts';
import { outputsOf, type Outputs } from '../kinds/kind.ts';
import { bindInputs, type Surroundings } from './bind-inputs.ts';
import { checkLayout } from './check-layout.ts';
import { checkMap, checkSetting } from './check-settings.ts';
import { substitute, type Scope } from './expressions.ts';
import { approveSetting, budgetSetting, resourcesSetting, retrySetting } from './how-settings.ts';
import type { Leg } from './legs.ts';
import { isLocal, readLocation, readRecordPath } from './locations.ts';
import { sourcesOf, type Budget, type PlannedStage, type Resources, type Retry } from './plan.ts';
import type { StageText } from './spec.ts';
import { describe, type Entry, type Faults, type MapNode, type Node } from './tree.ts';

export const defaultPool = 'default';

export interface LegContext {
  stage: StageText;
  leg: Leg;
  params: ReadonlyMap<string, Node>;
  around: Surroundings;
  /** Makes local paths absolute; the compiler itself knows no working folder. */
  absolute: (path: string) => string;
}

/** What one leg declares, whether or not its inputs are right. */
export interface DeclaredLeg {
  settings: Record<string, Json>;
  outputs: Outputs;
}

/** Settings and outputs of a leg; undefined for an unknown kind. */
export function declareLeg(context: LegContext): DeclaredLeg | undefined {
  const { stage, around } = context;
  const { kind } = stage;
  if (kind === undefined) {
    if (stage.with !== undefined) substitute(stage.with, scopeOf(context), around.faults);
    return undefined;
  }
  const written = withMatrix(context);
  const node = written === undefined ? undefined : substitute(written, scopeOf(context), around.faults);
  const map = node?.kind === 'map' ? node : undefined;
  const checking = { faults: around.faults, path: stage.name, place: stage.place };
  const settings = checkMap(map, kind.with, checking);
  if (kind.name === 'import' && map !== undefined) {
    const location = readLocation(map, around.faults);
    if (location !== undefined)
      settings['location'] = isLocal(location) ? context.absolute(location) : location;
    const record = readRecordPath(map, around.faults);
    if (record !== undefined) settings['record'] = context.absolute(record);
  }
  return { settings, outputs: outputsOf(kind, settings) };
}

export function planLeg(context: LegContext, declared: DeclaredLeg | undefined): PlannedStage | undefined {
  const { stage, leg, around } = context;
  const written =
    stage.inputs === undefined ? undefined : substitute(stage.inputs, scopeOf(context), around.faults);
  const map = written?.kind === 'map' ? written : undefined;
  const inputs = bindInputs(
    { stage: stage.name, place: stage.place, kind: stage.kind, inputs: map, leg },
    around,
  );
  const how = readHow(context);
  if (stage.kind === undefined || declared === undefined) return undefined;
  checkLayout(
    { name: leg.name, kind: stage.kind, settings: declared.settings, resources: how.resources },
    { faults: around.faults, place: stage.how.get('resources')?.place ?? stage.place },
  );
  return {
    name: leg.name,
    kind: stage.kind.name,
    version: stage.kind.version,
    with: declared.settings,
    inputs,
    outputs: declared.outputs,
    after: [
      ...new Set(
        Object.values(inputs)
          .flatMap(sourcesOf)
          .map((source) => source.stage),
      ),
    ],
    ...how,
    secrets: [
      ...new Set(
        [declared.settings, how.resources.endpoint ?? null, how.resources.judge ?? null].flatMap(secretsIn),
      ),
    ],
  };
}

/** A dimension that is a setting of the kind sets it; any other must be used as `${matrix.x}`. */
function withMatrix({ stage, leg }: LegContext): MapNode | undefined {
  const entries = new Map<string, Entry>(stage.with?.entries);
  for (const { name, keyPlace } of stage.matrix) {
    const value = leg.values.get(name);
    if (value === undefined || stage.kind?.with.properties[name] === undefined || entries.has(name)) continue;
    entries.set(name, { keyPlace, value });
  }
  if (entries.size === 0) return stage.with;
  return { kind: 'map', place: stage.with?.place ?? stage.place, entries };
}

function scopeOf({ stage, leg, params }: LegContext): Scope {
  if (leg.values.size === 0) return { params, matrix: new Map() };
  const own = new Set(stage.matrix.map(({ name }) => name));
  const bound = new Map(params);
  const matrix = new Map(leg.values);
  for (const [name, value] of leg.values) {
    if (own.has(name)) continue;
    bound.set(name, value);
    matrix.delete(name);
  }
  return { params: bound, matrix };
}

type How = Pick<PlannedStage, 'pool' | 'resources' | 'retry' | 'budget' | 'approve'>;

function readHow(context: LegContext): How {
  const { stage, around } = context;
  const { faults } = around;
  const read = (
    key: 'resources' | 'retry' | 'budget',
    setting: typeof resourcesSetting,
  ): Record<string, Json> => {
    const node = stage.how.get(key);
    const value = node === undefined ? undefined : substitute(node, scopeOf(context), faults);
    const path = `${stage.name}.${key}`;
    const checked =
      value === undefined
        ? checkMap(undefined, setting, { faults, path, place: stage.place })
        : checkSetting(value, setting, { faults, path });
    return { ...membersOf(checked) };
  };
  // The settings that were just checked are the fields of these types.
  const resources = { cpus: 1, gpus: 0, ...read('resources', resourcesSetting) } as Resources;
  const retry = { attempts: 1, ...read('retry', retrySetting) } as Retry;
  const budget = read('budget', budgetSetting) as Budget;
  return {
    pool: readPool(stage.how.get('pool'), context),
    resources,
    retry,
    ...(Object.keys(budget).length === 0 ? {} : { budget }),
    ...readApprove(stage.how.get('approve'), context),
  };
}

/** `approve: true`, or the question that is asked. */
function readApprove(node: Node | undefined, context: LegContext): Pick<How, 'approve'> {
  if (node === undefined) return {};
  const { stage, leg, around } = context;
  const value = substitute(node, scopeOf(context), around.faults);
  const found = checkSetting(value, approveSetting, { faults: around.faults, path: `${stage.name}.approve` });
  if (found === true) return { approve: `start ${leg.name}?` };
  return typeof found === 'string' ? { approve: found } : {};
}

function readPool(node: Node | undefined, context: LegContext): string {
  if (node === undefined) return defaultPool;
  const { stage, around } = context;
  const value = substitute(node, scopeOf(context), around.faults);
  if (value.kind === 'scalar' && typeof value.value === 'string') {
    if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(value.value)) return value.value;
    const hint = 'letters, digits, . _ and -; at most 64';
    around.faults.add('BAD_NAME', value.place, {
      message: `${JSON.stringify(value.value)} is not the name of a pool`,
      hint,
    });
  } else reportPool(value, stage.name, around.faults);
  return defaultPool;
}

function reportPool(value: Node, stage: string, faults: Faults): void {
  if (value.kind === 'scalar' && value.value === null && faults.has(value.place)) return;
  faults.add('WRONG_TYPE', value.place, {
    message: `${stage}.pool: expected the name of a pool, found ${describe(value)}`,
  });
}

function membersOf(value: Json | undefined): { readonly [name: string]: Json } {
  const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isMap ? (value as { readonly [name: string]: Json }) : {};
}

/** Names of all `{secret: NAME}` in settings. */
function secretsIn(value: Json): string[] {
  if (typeof value !== 'object' || value === null) return [];
  const members = Object.entries(value);
  const [only] = members;
  if (members.length === 1 && only?.[0] === 'secret' && typeof only[1] === 'string') return [only[1]];
  return members.flatMap(([, member]) => secretsIn(member));
}
