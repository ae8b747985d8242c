import { folderOf, joinPath } from './paths.ts';
import { suggestion } from './suggest.ts';
import type { Faults, MapNode } from './tree.ts';

const forms: Readonly<Record<string, { pattern: RegExp; example: string }>> = {
  s3: { pattern: /^\/\/[^/]+\/.+/, example: 's3://bucket/prefix' },
  hf: { pattern: /^\/\/[^/]+\/[^/]+\/?$/, example: 'hf://owner/name' },
};

/**
 * The location of an import, in one form: local paths (relative to the file that says them) as paths
 * from where the spec's own path starts, `s3://bucket/prefix`, `hf://owner/name`.
 */
export function readLocation(settings: MapNode, faults: Faults): string | undefined {
  const node = settings.entries.get('location')?.value;
  if (node?.kind !== 'scalar' || typeof node.value !== 'string') return undefined;
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(node.value)?.[1];
  const spec = (node.origin ?? node.place).file.path;
  if (scheme === undefined || scheme === 'file') return localPath(spec, node.value);
  const rest = node.value.slice(scheme.length + 1);
  const form = forms[scheme];
  if (form?.pattern.test(rest) === true) return node.value;
  if (form === undefined) {
    const hint = suggestion(`${scheme}:`, ['file:', ...Object.keys(forms).map((name) => `${name}:`)]);
    faults.add('BAD_LOCATION', node.place, { message: `${scheme}: is not a place to import from`, hint });
  } else {
    faults.add('BAD_LOCATION', node.place, { message: `expected ${form.example}, found ${node.value}` });
  }
  return undefined;
}

/** The record of an import, which is always a local file: a path from where the spec's own path starts. */
export function readRecordPath(settings: MapNode, faults: Faults): string | undefined {
  const node = settings.entries.get('record')?.value;
  if (node?.kind !== 'scalar' || typeof node.value !== 'string') return undefined;
  if (isLocal(node.value)) return localPath((node.origin ?? node.place).file.path, node.value);
  faults.add('BAD_LOCATION', node.place, { message: `record: expected a local path, found ${node.value}` });
  return undefined;
}

/** A local location (`./x`, `/x`, `file:x`, `file:///x`) as it is written in the spec at `spec`. */
export function localPath(spec: string, location: string): string {
  const path = location.replace(/^file:(\/\/(?=\/))?/, '');
  return joinPath(folderOf(spec), path);
}

export function isLocal(location: string): boolean {
  return !/^(s3|hf):/.test(location);
}
