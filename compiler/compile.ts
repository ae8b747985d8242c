import { canonicalJson } from '../core/canonical-json.ts';
import { digestFromHex, type Sha256 } from '../core/digest.ts';
import { err, ok, type Result } from '../core/result.ts';
import type { Surroundings } from './bind-inputs.ts';
import { compareDiagnostics, type Diagnostic } from './diagnostic.ts';
import { checkSetting } from './check-settings.ts';
import { collectNames, substitute, type NamesUsed } from './expressions.ts';
import { runBudgetSetting } from './how-settings.ts';
import { expandLegs, type StageLegs } from './legs.ts';
import { loadSpec, type ReadSpec } from './load-spec.ts';
import { topologicalOrder } from './order.ts';
import type { Plan, PlannedStage } from './plan.ts';
import { declareLeg, planLeg, type DeclaredLeg, type LegContext } from './plan-leg.ts';
import { readOverrides } from './overrides.ts';
import { parseReference, type Reference } from './references.ts';
import { readSpecTree, type Spec, type StageText } from './spec.ts';
import { Faults, type Node } from './tree.ts';

export interface CompileOptions {
  readSpec: ReadSpec;
  sha256: Sha256;
  profile?: string | undefined;
  /** `--param name=value`: values are read as YAML scalars. */
  params?: Readonly<Record<string, string>> | undefined;
  /** Makes local paths absolute. */
  absolute?: (path: string) => string;
}

/** YAML text to a checked plan, or everything that is wrong with it. */
export function compile(path: string, options: CompileOptions): Result<Plan, Diagnostic[]> {
  const faults = new Faults();
  const params = readOverrides(options.params ?? {}, faults);
  const loaded = loadSpec(path, { readSpec: options.readSpec, profile: options.profile, params, faults });
  if (loaded === undefined) return err(faults.list().sort(compareDiagnostics));
  const spec = readSpecTree(loaded.tree, faults);
  const stages = new Planner(spec, { faults, absolute: options.absolute ?? ((local) => local) }).plan();
  const budget = readRunBudget(spec, faults);
  if (faults.count > 0) return err(faults.list().sort(compareDiagnostics));
  const asked = {
    texts: loaded.texts.map(({ text }) => text),
    profile: options.profile ?? null,
    params: options.params ?? {},
  };
  return ok({
    schema: 'fretsaw/plan/v1',
    spec: {
      name: spec.name,
      path,
      profile: options.profile ?? null,
      digest: digestFromHex(options.sha256(canonicalJson(asked))),
    },
    ...(budget === undefined ? {} : { budget }),
    stages,
  });
}

function readRunBudget({ budget, params }: Spec, faults: Faults): Plan['budget'] {
  if (budget === undefined) return undefined;
  const node = substitute(budget, { params, matrix: new Map() }, faults);
  const checked = checkSetting(node, runBudgetSetting, { faults, path: 'budget' });
  // The setting that was just checked has this one member.
  return checked === undefined ? undefined : (checked as Plan['budget']);
}

interface PlannerOptions {
  faults: Faults;
  absolute: (path: string) => string;
}

/** Goes through the stages in topological order: dimensions and outputs flow down the graph. */
class Planner {
  readonly #spec: Spec;
  readonly #options: PlannerOptions;
  readonly #legs = new Map<string, StageLegs>();
  readonly #declared = new Map<string, DeclaredLeg | undefined>();
  readonly #references = new Map<string, Reference[]>();
  readonly #around: Surroundings;

  constructor(spec: Spec, options: PlannerOptions) {
    this.#spec = spec;
    this.#options = options;
    this.#around = {
      names: new Set(spec.stages.keys()),
      legsOf: (stage) => this.#legs.get(stage),
      outputsOf: (leg) => this.#declared.get(leg)?.outputs,
      faults: options.faults,
    };
  }

  plan(): PlannedStage[] {
    const { stages } = this.#spec;
    for (const stage of stages.values()) this.#references.set(stage.name, this.#referencesOf(stage));
    const graph = new Map(
      [...this.#references].map(([name, found]) => [name, found.map(({ stage }) => stage)]),
    );
    const { order, cycles } = topologicalOrder(graph);
    for (const cycle of cycles) {
      const place = stages.get(cycle[0] ?? '')?.place;
      if (place === undefined) continue;
      const hint = 'a stage cannot wait for itself: cut one of these inputs';
      this.#options.faults.add('CYCLE', place, {
        message: `stages wait for each other: ${cycle.join(' -> ')}`,
        hint,
      });
    }
    const planned = order.flatMap((name) => this.#stage(name));
    return withoutUnread(planned);
  }

  #stage(name: string): PlannedStage[] {
    const stage = this.#spec.stages.get(name);
    if (stage === undefined) return [];
    const legs = expandLegs(name, stage.matrix, this.#sharedDimensions(stage));
    this.#checkMatrix(stage);
    this.#legs.set(name, legs);
    const planned: PlannedStage[] = [];
    for (const leg of legs.legs) {
      const context: LegContext = {
        stage,
        leg,
        params: this.#spec.params,
        around: this.#around,
        absolute: this.#options.absolute,
      };
      const declared = declareLeg(context);
      this.#declared.set(leg.name, declared);
      const one = planLeg(context, declared);
      if (one !== undefined) planned.push(one);
    }
    this.#refuseEqualLegs(stage, planned);
    return planned;
  }

  /** References as far as they are known before legs are: which stage, and which legs by name. */
  #referencesOf(stage: StageText): Reference[] {
    const found: Reference[] = [];
    const visit = (node: Node): void => {
      if (node.kind === 'list') node.items.forEach(visit);
      else if (node.kind === 'map') for (const { value } of node.entries.values()) visit(value);
      else if (typeof node.value === 'string') {
        const reference = parseReference(this.#withPlainParams(node.value));
        if (reference !== undefined) found.push(reference);
      }
    };
    if (stage.inputs !== undefined) visit(stage.inputs);
    return found;
  }

  #withPlainParams(text: string): string {
    if (!text.includes('${')) return text;
    return text.replace(/\$\{\s*params\.([\w-]+)\s*\}/g, (whole, name: string) => {
      const value = this.#spec.params.get(name);
      return value?.kind === 'scalar' ? String(value.value) : whole;
    });
  }

  /** The spec's dimensions that a stage depends on, through `${params.x}` or through what it reads. */
  #sharedDimensions(stage: StageText): Spec['matrix'] {
    if (this.#spec.matrix.length === 0) return [];
    const params = namesUsed(stage).params;
    for (const reference of this.#references.get(stage.name) ?? []) {
      const read = this.#legs.get(reference.stage);
      for (const { name } of read?.dimensions ?? []) {
        const isStarred = reference.isAll && read?.starred.has(name) === true;
        if (!isStarred && !reference.selectors.has(name)) params.add(name);
      }
    }
    return this.#spec.matrix.filter(
      ({ name }) => params.has(name) && !stage.matrix.some((own) => own.name === name),
    );
  }

  #checkMatrix(stage: StageText): void {
    const { faults } = this.#options;
    const used = namesUsed(stage);
    for (const { name, keyPlace } of stage.matrix) {
      const isSetting = stage.kind?.with.properties[name] !== undefined;
      if (this.#spec.matrix.some((shared) => shared.name === name)) {
        faults.add('BAD_MATRIX', keyPlace, {
          message: `matrix.${name} is already a dimension of the spec`,
          hint: 'give one another name',
        });
      } else if (isSetting && stage.with?.entries.has(name) === true) {
        faults.add('BAD_MATRIX', keyPlace, {
          message: `${name} is set by matrix and by with`,
          hint: 'keep one',
        });
      } else if (!isSetting && !used.matrix.has(name) && stage.kind !== undefined) {
        const hint = `use it as \${matrix.${name}} in with, inputs or pool`;
        faults.add('BAD_MATRIX', keyPlace, {
          message: `matrix.${name} is no setting of ${stage.kind.name} and is not used`,
          hint,
        });
      }
    }
  }

  #refuseEqualLegs(stage: StageText, legs: readonly PlannedStage[]): void {
    if (legs.length < 2) return;
    const seen = new Map<string, string>();
    for (const leg of legs) {
      const asked = canonicalJson({ with: leg.with, inputs: leg.inputs });
      const twin = seen.get(asked);
      if (twin === undefined) seen.set(asked, leg.name);
      else {
        const message = `${twin} and ${leg.name} ask for the same: equal with and inputs`;
        this.#options.faults.add('EQUAL_LEGS', stage.place, {
          message,
          hint: 'the matrix changes nothing that is part of the key',
        });
      }
    }
  }
}

function namesUsed(stage: StageText): NamesUsed {
  const used: NamesUsed = { params: new Set(), matrix: new Set() };
  for (const node of [stage.with, stage.inputs, ...stage.how.values()]) {
    if (node !== undefined) collectNames(node, used);
  }
  return used;
}

/** Imports that nothing reads (any more, under this profile) are not fetched. */
function withoutUnread(planned: readonly PlannedStage[]): PlannedStage[] {
  const read = new Set(planned.flatMap(({ after }) => after));
  return planned.filter(({ kind, name }) => kind !== 'import' || read.has(name));
}
