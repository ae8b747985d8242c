import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { findArtifact } from './find-artifact.ts';

/** `fretsaw store pin <name> <artifact>`: gc keeps it until it is unpinned. */
export const pin: Command = {
  async run(invocation) {
    const [name, artifact, ...more] = invocation.args;
    if (name === undefined || artifact === undefined || more.length > 0)
      throw new UsageError('expected <name> <artifact>');
    const store = openHomeStore(homePaths(invocation.env, invocation.cwd));
    const digest = await findArtifact(store, artifact);
    await store.upkeep.pin(name, digest);
    say(invocation, { pinned: name, digest }, `${name} keeps ${digest}`);
    return exitCodes.ok;
  },
};

/** `fretsaw store unpin <name>`. */
export const unpin: Command = {
  async run(invocation) {
    const [name, ...more] = invocation.args;
    if (name === undefined || more.length > 0) throw new UsageError('expected <name>');
    await openHomeStore(homePaths(invocation.env, invocation.cwd)).upkeep.unpin(name);
    say(invocation, { unpinned: name }, `${name} keeps nothing`);
    return exitCodes.ok;
  },
};

function say({ terminal, json }: Invocation, document: object, text: string): void {
  terminal.out(json ? `${JSON.stringify(document)}\n` : `${text}\n`);
}
