import type { Digest } from '../core/digest.ts';
import { kinds } from '../kinds/registry.ts';

export interface KindVersions {
  versions: Record<string, string>;
  codes: Record<string, Digest>;
}

export function kindVersions(_root: string): KindVersions {
  return { versions: Object.fromEntries([...kinds].map(([name, kind]) => [name, String(kind.version)])), codes: {} };
}
