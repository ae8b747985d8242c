import type { ArtifactType } from '../core/artifact.ts';
import type { InputPort, Inputs, Kind, Outputs } from '../kinds/kind.ts';
import { pickLegs, type Leg, type StageLegs } from './legs.ts';
import type { Source, SourceInput } from './plan.ts';
import { parseReference, type Reference } from './references.ts';
import { suggestion } from './suggest.ts';
import { describe, type Faults, type MapNode, type Node, type Place, type ScalarNode } from './tree.ts';

/** What a stage's inputs may refer to, and what is known of it so far. */
export interface Surroundings {
  /** Names of all stages and inputs, for suggestions. */
  names: ReadonlySet<string>;
  /** Undefined for a stage on a cycle, or that could not be read. */
  legsOf: (stage: string) => StageLegs | undefined;
  /** Outputs of a leg; undefined when its kind is unknown: then nothing is said about its outputs. */
  outputsOf: (leg: string) => Outputs | undefined;
  faults: Faults;
}

export interface StageInputs {
  stage: string;
  place: Place;
  kind: Kind | undefined;
  inputs: MapNode | undefined;
  leg: Leg;
}

/** Turns written inputs into sources, checked against the kind's ports. */
export function bindInputs(stage: StageInputs, around: Surroundings): Record<string, SourceInput> {
  const ports = stage.kind?.inputs ?? 'open';
  const bound: Record<string, SourceInput> = {};
  for (const [name, { keyPlace, value }] of stage.inputs?.entries ?? []) {
    const port = ports === 'open' ? openPort : ports[name];
    if (port === undefined)
      reportUnknown(name, { stage, place: keyPlace, ports: ports === 'open' ? {} : ports }, around.faults);
    else {
      const sources = new Binder({ stage, around, port, name }).bind(value);
      if (sources !== undefined) bound[name] = sources;
    }
  }
  if (ports !== 'open') refuseMissing(stage, ports, around.faults);
  return bound;
}

const openPort: InputPort & { isOpen: true } = { description: '', types: 'any', isOpen: true };

function reportUnknown(
  name: string,
  { stage, place, ports }: { stage: StageInputs; place: Place; ports: Inputs },
  faults: Faults,
): void {
  const hint = suggestion(name, Object.keys(ports)) ?? 'this kind has no inputs';
  faults.add('UNKNOWN_INPUT', place, {
    message: `${stage.kind?.name ?? stage.stage} has no input ${name}`,
    hint,
  });
}

function refuseMissing(stage: StageInputs, ports: Inputs, faults: Faults): void {
  for (const [name, port] of Object.entries(ports)) {
    if (port.optional === true || stage.inputs?.entries.has(name) === true) continue;
    const types = port.types === 'any' ? 'anything' : port.types.join(' or ');
    const message = `${stage.stage}: input ${name} is required`;
    faults.add('MISSING_INPUT', stage.place, { message, hint: `${name} (${types}): ${port.description}` });
  }
}

interface Binding {
  stage: StageInputs;
  around: Surroundings;
  port: InputPort & { isOpen?: true };
  name: string;
}

class Binder {
  readonly #binding: Binding;

  constructor(binding: Binding) {
    this.#binding = binding;
  }

  bind(value: Node): SourceInput | undefined {
    switch (value.kind) {
      case 'scalar':
        return this.#one(value);
      case 'list':
        return this.#list(value.items, value.place);
      case 'map':
        return this.#map(value);
    }
  }

  /** What was written without a list or map round it. */
  #one(value: ScalarNode): SourceInput | undefined {
    const { port } = this.#binding;
    const found = this.#sources(value);
    if (found === undefined) return undefined;
    const { sources, isMany, stage } = found;
    const first = sources[0]?.source;
    if (port.many === 'list' || port.many === 'list-or-map') return sources.map(({ source }) => source);
    if (port.many === 'map') {
      if (isMany) return this.#named(stage, sources);
      return this.#wrongForm(value.place, 'a map', `name it: { <name>: ${String(value.value)} }`);
    }
    if (!isMany) return first;
    if (port.isOpen === true) return sources.map(({ source }) => source);
    return this.#wrongForm(value.place, 'one artifact', 'name one leg instead of *');
  }

  #list(items: readonly Node[], place: Place): SourceInput | undefined {
    const { port } = this.#binding;
    if (port.isOpen !== true && port.many !== 'list' && port.many !== 'list-or-map') {
      return this.#wrongForm(place, port.many === 'map' ? 'a map' : 'one artifact', undefined);
    }
    const sources = items.flatMap((item) => this.#item(item)?.sources ?? []);
    if (items.length === 0 && port.optional !== true)
      return this.#wrongForm(place, 'at least one artifact', undefined);
    // An empty list asks for what an absent input asks for, and must have the same key.
    return items.length === 0 ? undefined : sources.map(({ source }) => source);
  }

  #map(value: MapNode): SourceInput | undefined {
    const { port } = this.#binding;
    if (port.isOpen !== true && port.many !== 'map' && port.many !== 'list-or-map') {
      return this.#wrongForm(value.place, port.many === 'list' ? 'a list' : 'one artifact', undefined);
    }
    const named: Record<string, Source> = {};
    for (const [name, entry] of value.entries) {
      const found = this.#item(entry.value);
      if (found === undefined) continue;
      if (found.isMany) Object.assign(named, this.#named(name, found.sources));
      else if (found.sources[0] !== undefined) named[name] = found.sources[0].source;
    }
    if (value.entries.size > 0) return named;
    return port.optional === true
      ? undefined
      : this.#wrongForm(value.place, 'at least one artifact', undefined);
  }

  #named(name: string, sources: readonly LabelledSource[]): Record<string, Source> {
    return Object.fromEntries(sources.map(({ source, label }) => [`${name}[${label}]`, source]));
  }

  #item(item: Node): Found | undefined {
    if (item.kind === 'scalar') return this.#sources(item);
    this.#wrongForm(item.place, 'a reference like stage.output', undefined);
    return undefined;
  }

  #sources(node: ScalarNode): Found | undefined {
    const { stage, around } = this.#binding;
    const { faults } = around;
    const reference = typeof node.value === 'string' ? parseReference(node.value) : undefined;
    if (reference === undefined) {
      if (node.value === null && faults.has(node.place)) return undefined;
      const message = `${stage.stage}.${this.#binding.name}: expected a reference, found ${describe(node)}`;
      faults.add('BAD_REFERENCE', node.place, {
        message,
        hint: 'stage.output, stage[effort=low].output, stage[*].output or an input',
      });
      return undefined;
    }
    if (!around.names.has(reference.stage)) {
      const hint = suggestion(
        reference.stage,
        [...around.names].filter((name) => name !== stage.stage),
      );
      faults.add('UNKNOWN_STAGE', node.place, {
        message: `there is no stage or input ${reference.stage}`,
        hint,
      });
      return undefined;
    }
    const target = around.legsOf(reference.stage);
    if (target === undefined) return undefined;
    const picked = pickLegs(target, { reference, at: stage.leg, place: node.place, faults });
    if (picked === undefined) return undefined;
    const sources = picked.legs.flatMap(({ leg, label }) => {
      const source = this.#source(leg, reference, node.place);
      return source === undefined ? [] : [{ source, label }];
    });
    return sources.length < picked.legs.length
      ? undefined
      : { stage: reference.stage, sources, isMany: picked.isMany };
  }

  #source(leg: Leg, reference: Reference, place: Place): Source | undefined {
    const { around, port } = this.#binding;
    const outputs = around.outputsOf(leg.name);
    if (outputs === undefined) return undefined;
    const names = Object.keys(outputs);
    const output = reference.output ?? (names.includes('self') ? 'self' : undefined);
    if (output === undefined) {
      const hint = `say ${names.map((name) => `${reference.stage}.${name}`).join(' or ')}`;
      around.faults.add('BAD_REFERENCE', place, {
        message: `${reference.stage} is a stage: which output?`,
        hint,
      });
      return undefined;
    }
    const type = outputs[output];
    if (type === undefined) {
      const message = `${reference.stage} has no output ${output}`;
      around.faults.add('UNKNOWN_OUTPUT', place, { message, hint: suggestion(output, names) });
      return undefined;
    }
    return this.#checkType(type, port, { reference, place }) ? { stage: leg.name, output } : undefined;
  }

  #checkType(type: ArtifactType, port: InputPort, at: { reference: Reference; place: Place }): boolean {
    if (port.types === 'any' || port.types.includes(type)) return true;
    const { stage, name, around } = this.#binding;
    const written =
      at.reference.output === undefined ? at.reference.stage : `${at.reference.stage}.${at.reference.output}`;
    const expected = port.types.join(' or ');
    const fitting = [...around.names].flatMap((candidate) => fittingOutputs(candidate, { port, around }));
    const others = fitting.filter((candidate) => !candidate.startsWith(`${stage.stage}.`)).slice(0, 4);
    around.faults.add('INPUT_TYPE', at.place, {
      message: `${stage.stage}.${name} takes ${expected}; ${written} is ${type}`,
      hint: others.length === 0 ? undefined : `of that type here: ${others.join(', ')}`,
    });
    return false;
  }

  #wrongForm(place: Place, expected: string, hint: string | undefined): SourceInput | undefined {
    const { stage, name } = this.#binding;
    this.#binding.around.faults.add('INPUT_FORM', place, {
      message: `${stage.stage}.${name}: expected ${expected}`,
      hint,
    });
    return undefined;
  }
}

interface LabelledSource {
  source: Source;
  label: string;
}

interface Found {
  stage: string;
  sources: readonly LabelledSource[];
  isMany: boolean;
}

function fittingOutputs(
  stage: string,
  { port, around }: { port: InputPort; around: Surroundings },
): string[] {
  const leg = around.legsOf(stage)?.legs[0];
  const outputs = leg === undefined ? undefined : around.outputsOf(leg.name);
  return Object.entries(outputs ?? {})
    .filter(([, type]) => port.types === 'any' || port.types.includes(type))
    .map(([output]) => (output === 'self' ? stage : `${stage}.${output}`));
}
