import { hexOf, isDigest, type Digest } from '../core/digest.ts';
import { CodeDigests, type CodeReading } from './code-digest.ts';
import { kindNamed, kinds } from './registry.ts';

/** Written by infra/setup/pin-kinds.mjs: which code each version of a kind stands for. */
export const pinnedPath = 'kinds/pinned.json';

export interface Pinned {
  schema: 'fretsaw/pinned-kinds/v1';
  kinds: Readonly<Record<string, { version: number; code: Digest }>>;
}

export interface KindVersions {
  /** What goes into keys: `3`, or `3+dirty.<8 hex>` when the code is not the pinned one. */
  versions: Record<string, string>;
  codes: Record<string, Digest>;
}

/**
 * The versions of the named kinds (all when absent) as the code lies here now. Code that was changed since it was pinned gets
 * a version of its own, and so shares no key with the pinned one.
 */
export function kindVersions(reading: CodeReading, names: Iterable<string> = kinds.keys()): KindVersions {
  const pinned = readPinned(reading.readFile(pinnedPath));
  const digests = new CodeDigests(reading);
  const found: KindVersions = { versions: {}, codes: {} };
  for (const name of names) {
    const kind = kindNamed(name);
    const code = digests.of(kind);
    found.codes[kind.name] = code;
    found.versions[kind.name] = versionFor(kind.version, code, pinned[kind.name]);
  }
  return found;
}

/** What to write to kinds/pinned.json. */
export function pinKinds(reading: CodeReading): Pinned {
  const digests = new CodeDigests(reading);
  const entries: Record<string, { version: number; code: Digest }> = {};
  for (const kind of kinds.values()) entries[kind.name] = { version: kind.version, code: digests.of(kind) };
  return { schema: 'fretsaw/pinned-kinds/v1', kinds: entries };
}

function versionFor(
  version: number,
  code: Digest,
  pin: { version: number; code: Digest } | undefined,
): string {
  const isClean = pin?.version === version && pin.code === code;
  return isClean ? String(version) : `${version}+dirty.${hexOf(code).slice(0, 8)}`;
}

function readPinned(text: string | undefined): Pinned['kinds'] {
  if (text === undefined) return {};
  const document: unknown = JSON.parse(text);
  const entries: [string, { version: number; code: Digest }][] = [];
  for (const [name, value] of Object.entries(membersOf(membersOf(document)['kinds']))) {
    const { version, code } = membersOf(value);
    if (typeof version === 'number' && typeof code === 'string' && isDigest(code))
      entries.push([name, { version, code }]);
    else throw new TypeError(`${pinnedPath}: ${name}: expected version and code`);
  }
  return Object.fromEntries(entries);
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) throw new TypeError(`${pinnedPath}: expected a map`);
  return Object.fromEntries(Object.entries(value));
}
