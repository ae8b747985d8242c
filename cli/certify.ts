import { parseArgs } from 'node:util';
import { parseJson } from '../costs/json-reader.ts';
import { certify, type Certified } from '../selection/certify.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command } from './command.ts';
import { findArtifact } from './find-artifact.ts';

/** `fretsaw certify <proof>`: checks a selection's proof again from its own numbers, with no solver. */
export const command: Command = {
  async run({ args, env, cwd, terminal, json }) {
    const { positionals } = parseArgs({ args, allowPositionals: true, options: {} });
    const [name, ...more] = positionals;
    if (name === undefined || more.length > 0) throw new UsageError('expected the artifact of one proof');
    const store = openHomeStore(homePaths(env, cwd));
    const digest = await findArtifact(store, name);
    const bytes = await store.artifacts.readFile(digest, 'proof.json');
    const certified = certify(parseJson(new TextDecoder().decode(bytes), 'proof.json'));
    terminal.out(json ? `${JSON.stringify({ digest, ...certified })}\n` : describe(certified));
    return certified.fault === null ? exitCodes.ok : exitCodes.failed;
  },
};

const optimality: Readonly<Record<Certified['check']['optimality'], string>> = {
  proven: 'no better selection exists: the choices that the bound leaves were all tried',
  open: 'the choices that the bound leaves are too many to try them all',
  refuted: 'a better selection exists',
};

function describe({ claimed, check, fault }: Certified): string {
  const lines = [
    fault === null ? 'the proof holds' : `the proof does not hold: ${fault}`,
    `  score   ${check.value} (claimed: ${claimed.value}, ${claimed.status})`,
    `  bound   ${check.bound} by multipliers alone, gap ${check.gap}`,
    `  choices ${check.excluded} of ${check.choices} are ruled out by the bound`,
    `  search  ${optimality[check.optimality]}`,
  ];
  return `${lines.join('\n')}\n`;
}
