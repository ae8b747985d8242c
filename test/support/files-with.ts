import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** All files below a folder that hold a text, names too. */
export function filesWith(folder: string, text: string): string[] {
  return readdirSync(folder, { recursive: true })
    .map((name) => join(folder, String(name)))
    .filter((path) => path.includes(text) || (statSync(path).isFile() && readFileSync(path).includes(text)));
}
