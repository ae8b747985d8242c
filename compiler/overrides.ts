import { parseYaml } from './parse-yaml.ts';
import type { Entry, Faults } from './tree.ts';

/** `--param name=value`: the value is a YAML scalar or flow list, so `5e5` is a number and `'8'` text. */
export function readOverrides(params: Readonly<Record<string, string>>, faults: Faults): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  for (const [name, value] of Object.entries(params)) {
    const tree = parseYaml('--param', `${name}: ${value}`, faults);
    const entry = tree?.kind === 'map' ? tree.entries.get(name) : undefined;
    if (entry !== undefined) entries.set(name, entry);
  }
  return entries;
}
