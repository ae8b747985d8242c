import { canonicalJson } from '../core/canonical-json.ts';
import { digestFromHex, type Digest, type Sha256 } from '../core/digest.ts';
import type { Kind } from './kind.ts';

/** Text of a file of this repository by its path from the root; undefined when there is none. */
export type ReadFile = (path: string) => string | undefined;

export interface CodeReading {
  readFile: ReadFile;
  sha256: Sha256;
}

/** Python packages whose version is part of a kind's code, when its modules import them. */
const pythonPackages = ['torch', 'transformers', 'trl', 'onnx'];
/** The same for TypeScript. */
const nodePackages = ['highs', 'onnxruntime-node', '@huggingface/tokenizers', '@huggingface/jinja'];

const engineSource = 'engine/src/';
const enginePackage = 'fretsaw_engine';
const lockFile = 'engine/requirements.lock';
const packageFile = 'package.json';

/** Shared ground that every kind stands on; a change there is covered by kind versions, not by code digests. */
const notFollowed = /^(core|kinds|store|lineage)\//;

/**
 * The digest of what a kind runs: its own file here, its TypeScript and Python with everything of ours
 * that they import, and the pinned versions of the libraries that do the arithmetic.
 */
export function codeDigest(kind: Kind, reading: CodeReading): Digest {
  return new CodeDigests(reading).of(kind);
}

/** Digests for several kinds: files that they share are read and scanned once. */
export class CodeDigests {
  readonly #reading: CodeReading;
  readonly #scans = new Map<string, Scan | undefined>();
  #versions: Map<string, string> | undefined;

  constructor(reading: CodeReading) {
    this.#reading = reading;
  }

  of(kind: Kind): Digest {
    const files: Record<string, string> = {};
    const packages: Record<string, string> = {};
    for (const path of this.#closure(kind)) {
      const scan = this.#scan(path);
      if (scan === undefined) continue;
      files[path] = scan.sha256;
      for (const name of scan.packages) packages[name] = this.#version(name);
    }
    return digestFromHex(this.#reading.sha256(canonicalJson({ files, packages })));
  }

  /** Paths of all files that belong to a kind, sorted. */
  filesOf(kind: Kind): string[] {
    return this.#closure(kind).filter((path) => this.#scan(path) !== undefined);
  }

  #closure(kind: Kind): string[] {
    const own = `kinds/${kind.name}.ts`;
    const modules = kind.code.python.flatMap(moduleFiles);
    const open = [...modules, ...kind.code.typescript];
    const seen = new Set(open);
    for (let path = open.pop(); path !== undefined; path = open.pop()) {
      for (const next of this.#scan(path)?.imports ?? []) {
        if (seen.has(next)) continue;
        seen.add(next);
        open.push(next);
      }
    }
    return [own, ...seen].sort();
  }

  #scan(path: string): Scan | undefined {
    if (this.#scans.has(path)) return this.#scans.get(path);
    const text = this.#reading.readFile(path);
    const found =
      text === undefined ? undefined : { ...scanText(path, text), sha256: this.#reading.sha256(text) };
    this.#scans.set(path, found);
    return found;
  }

  #version(name: string): string {
    this.#versions ??= readVersions(this.#reading.readFile);
    return this.#versions.get(name) ?? 'unpinned';
  }
}

interface Scan {
  sha256: string;
  /** Paths that may exist: `from a import b` can name a module or a value. */
  imports: readonly string[];
  packages: readonly string[];
}

type Imports = Omit<Scan, 'sha256'>;

function scanText(path: string, text: string): Imports {
  if (path.endsWith('.py')) return scanPython(path, text);
  return path.endsWith('.ts') ? scanTypeScript(path, text) : { imports: [], packages: [] };
}

function scanPython(path: string, text: string): Imports {
  const running = text.replace(/^if TYPE_CHECKING:\n(?:(?: {4}.*)?\n)*/gm, '');
  const imports: string[] = [];
  const packages = new Set<string>();
  const found = running.matchAll(
    /^[ \t]*(?:from\s+([\w.]+)\s+import\s+(\([^)]*\)|[^\n]*)|import\s+([\w., \t]+))/gm,
  );
  for (const [, from, names, plain] of found) {
    for (const module of from === undefined ? plainModules(plain ?? '') : [from]) {
      const top = module.split('.')[0] ?? '';
      if (pythonPackages.includes(top)) packages.add(top);
      if (top !== enginePackage) continue;
      imports.push(...moduleFiles(module));
      for (const name of importedNames(names ?? '')) imports.push(...moduleFiles(`${module}.${name}`));
    }
  }
  // Data that a module reads from its own folder, such as the chat template.
  const folder = path.slice(0, path.lastIndexOf('/'));
  for (const [, name] of running.matchAll(/["']([\w-]+\.(?:jinja|json|txt))["']/g))
    imports.push(`${folder}/${name ?? ''}`);
  return { imports, packages: [...packages] };
}

function plainModules(text: string): string[] {
  return text.split(',').map((part) => part.trim().split(/\s+/)[0] ?? '');
}

function importedNames(text: string): string[] {
  const names = text.replace(/[()]/g, '').replace(/#.*$/gm, '').split(',');
  return names.map((name) => name.trim().split(/\s+/)[0] ?? '').filter((name) => /^\w+$/.test(name));
}

/** A module's file and the packages that are run on the way to it; those that do not exist are skipped later. */
function moduleFiles(module: string): string[] {
  const parts = module.split('.');
  const packages = parts.map((_, i) => `${engineSource}${parts.slice(0, i + 1).join('/')}/__init__.py`);
  return [...packages, `${engineSource}${parts.join('/')}.py`];
}

function scanTypeScript(path: string, text: string): Imports {
  const folder = path.slice(0, path.lastIndexOf('/'));
  const imports: string[] = [];
  const packages = new Set<string>();
  const statements =
    /^(?:import|export)\s+(?!type\b)(?:[^'";]*?\sfrom\s+)?'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/gm;
  for (const [, fromStatement, fromCall] of text.matchAll(statements)) {
    const target = fromStatement ?? fromCall ?? '';
    const named = nodePackages.find((name) => target === name || target.startsWith(`${name}/`));
    if (named !== undefined) packages.add(named);
    if (!target.startsWith('.')) continue;
    const file = resolvePath(folder, target);
    if (!notFollowed.test(file)) imports.push(file);
  }
  return { imports, packages: [...packages] };
}

function resolvePath(folder: string, target: string): string {
  const parts = folder.split('/');
  for (const part of target.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '.') parts.push(part);
  }
  return parts.join('/');
}

/** `name==1.2.3` lines of the Python lock, and the exact versions of package.json. */
function readVersions(readFile: ReadFile): Map<string, string> {
  const versions = new Map<string, string>();
  for (const [, name, version] of (readFile(lockFile) ?? '').matchAll(/^([\w.-]+)==(\S+)/gm)) {
    if (name !== undefined && version !== undefined) versions.set(name, version);
  }
  for (const [, name, version] of (readFile(packageFile) ?? '').matchAll(
    /^\s*"([^"]+)":\s*"(\d[^"]*)",?$/gm,
  )) {
    if (name !== undefined && version !== undefined) versions.set(name, version);
  }
  return versions;
}
