import { overlaySpec } from './overlay.ts';
import { maximumSpecBytes, parseYaml } from './parse-yaml.ts';
import { folderOf, joinPath } from './paths.ts';
import { suggestion } from './suggest.ts';
import { describe, sourceFile, type Entry, type Faults, type MapNode, type Place } from './tree.ts';

/** The door to spec files; the caller looks at the size before it reads. */
export type ReadSpec = (path: string) => SpecFile;
export type SpecFile =
  | { kind: 'text'; text: string }
  | { kind: 'too-large'; sizeBytes: number }
  | { kind: 'missing'; reason: string };

export interface LoadOptions {
  readSpec: ReadSpec;
  profile?: string | undefined;
  /** `--param name=value`, already read as YAML scalars. */
  params?: ReadonlyMap<string, Entry> | undefined;
  faults: Faults;
}

export interface LoadedSpec {
  tree: MapNode;
  /** All files that the spec was made of, the named one first. */
  texts: readonly { path: string; text: string }[];
}

/** Reads a spec and what it extends, and lays profile and params on top. */
export function loadSpec(path: string, options: LoadOptions): LoadedSpec | undefined {
  const texts: { path: string; text: string }[] = [];
  const spec = loadWithBase(path, { options, texts, chain: [], from: undefined });
  if (spec === undefined) return undefined;
  const profiled = withProfile(spec, options);
  return { tree: withParams(profiled, options), texts };
}

interface Loading {
  options: LoadOptions;
  texts: { path: string; text: string }[];
  /** Paths that led here. */
  chain: readonly string[];
  /** The `extends` that asked for this file. */
  from: Place | undefined;
}

function loadWithBase(path: string, loading: Loading): MapNode | undefined {
  const spec = loadFile(path, loading);
  const extended = spec?.entries.get('extends');
  if (spec === undefined || extended === undefined) return spec;
  const { faults } = loading.options;
  const target = extended.value;
  if (target.kind !== 'scalar' || typeof target.value !== 'string') {
    faults.add('WRONG_TYPE', target.place, {
      message: `extends: expected a path, found ${describe(target)}`,
    });
    return spec;
  }
  const basePath = joinPath(folderOf(path), target.value);
  const chain = [...loading.chain, path];
  if (chain.includes(basePath)) {
    const shown = [...chain.slice(chain.indexOf(basePath)), basePath].join(' -> ');
    faults.add('EXTENDS_CYCLE', target.place, { message: `extends goes in a circle: ${shown}` });
    return spec;
  }
  const base = loadWithBase(basePath, { ...loading, chain, from: target.place });
  return base === undefined ? undefined : overlaySpec(base, spec, { sort: 'extends', faults });
}

function loadFile(path: string, { options, texts, from }: Loading): MapNode | undefined {
  const { faults } = options;
  const place = from ?? { file: sourceFile(path, ''), start: 0, end: 0 };
  const file = options.readSpec(path);
  if (file.kind === 'missing') {
    faults.add('NO_FILE', place, { message: `${path}: ${file.reason}` });
    return undefined;
  }
  const sizeBytes = file.kind === 'text' ? file.text.length : file.sizeBytes;
  if (file.kind === 'too-large' || sizeBytes > maximumSpecBytes) {
    const message = `${path} has ${(sizeBytes / 1e6).toFixed(1)} MB; a spec has at most ${maximumSpecBytes / (1 << 20)} MiB`;
    faults.add('TOO_LARGE', place, { message, hint: 'data belongs in a data set, named under inputs' });
    return undefined;
  }
  texts.push({ path, text: file.text });
  const tree = parseYaml(path, file.text, faults);
  if (tree === undefined || tree.kind === 'map') return tree;
  faults.add('WRONG_TYPE', tree.place, { message: `expected a spec (a map), found ${describe(tree)}` });
  return undefined;
}

function withProfile(spec: MapNode, { profile, faults }: LoadOptions): MapNode {
  if (profile === undefined) return spec;
  const profiles = spec.entries.get('profiles');
  const known = profiles?.value.kind === 'map' ? profiles.value.entries : new Map<string, Entry>();
  const chosen = known.get(profile);
  if (chosen === undefined) {
    const place = profiles?.keyPlace ?? { ...spec.place, end: spec.place.start };
    const hint = known.size === 0 ? 'this spec has no profiles' : suggestion(profile, known.keys());
    faults.add('UNKNOWN_PROFILE', place, { message: `there is no profile ${profile}`, hint });
    return spec;
  }
  if (chosen.value.kind !== 'map') return spec;
  return overlaySpec(spec, chosen.value, { sort: 'profile', faults });
}

function withParams(spec: MapNode, { params, faults }: LoadOptions): MapNode {
  if (params === undefined || params.size === 0) return spec;
  const declared = spec.entries.get('params');
  const values = new Map(declared?.value.kind === 'map' ? declared.value.entries : []);
  for (const [name, entry] of params) {
    if (values.has(name)) values.set(name, entry);
    else {
      const hint = suggestion(name, values.keys());
      faults.add('UNKNOWN_PARAM', entry.keyPlace, { message: `the spec has no param ${name}`, hint });
    }
  }
  const place = declared?.keyPlace ?? spec.place;
  const entries = new Map(spec.entries);
  entries.set('params', { keyPlace: place, value: { kind: 'map', place, entries: values } });
  return { ...spec, entries };
}
