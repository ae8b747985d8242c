import { folderOf, joinPath } from './paths.ts';
import { suggestion } from './suggest.ts';
import type { Faults, MapNode, ScalarNode } from './tree.ts';

const schemes = ['file', 's3', 'hf'];

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
  switch (scheme) {
    case 's3':
      return /^\/\/[^/]+\/.+/.test(rest) ? node.value : refuse(node, 's3://bucket/prefix', faults);
    case 'hf':
      return /^\/\/[^/]+\/[^/]+\/?$/.test(rest) ? node.value : refuse(node, 'hf://owner/name', faults);
    default: {
      const known = schemes.map((name) => `${name}:`);
      const hint = suggestion(`${scheme}:`, known);
      faults.add('BAD_LOCATION', node.place, { message: `${scheme}: is not a place to import from`, hint });
      return undefined;
    }
  }
}

/** A local location (`./x`, `/x`, `file:x`, `file:///x`) as it is written in the spec at `spec`. */
export function localPath(spec: string, location: string): string {
  const path = location.replace(/^file:(\/\/(?=\/))?/, '');
  return joinPath(folderOf(spec), path);
}

function refuse(node: ScalarNode, form: string, faults: Faults): undefined {
  faults.add('BAD_LOCATION', node.place, { message: `expected ${form}, found ${String(node.value)}` });
  return undefined;
}

export function isLocal(location: string): boolean {
  return !/^(s3|hf):/.test(location);
}
