import { parseArgs } from 'node:util';
import type { Digest } from '../core/digest.ts';
import { diffArtifacts } from '../lineage/diff.ts';
import { readGraph, type LineageGraph } from '../lineage/graph.ts';
import { impactOf } from '../lineage/impact.ts';
import { walkUp } from '../lineage/walk-up.ts';
import type { Store } from '../store/store.ts';
import { homePaths, openHomeStore } from '../workers/home.ts';
import { exitCodes, UsageError, type Command, type Invocation } from './command.ts';
import { findArtifact } from './find-artifact.ts';
import { differenceJson, impactJson, originsJson } from './lineage-json.ts';
import { differenceText, impactText, originsText } from './lineage-text.ts';

/** `fretsaw lineage <artifact> | impact <artifact> | diff <a> <b>`. */
export const command: Command = {
  async run(invocation) {
    const { positionals } = parseArgs({ args: invocation.args, allowPositionals: true });
    const store = openHomeStore(homePaths(invocation.env, invocation.cwd));
    const graph = await readGraph(store);
    for (const { reason } of graph.unreadable)
      invocation.terminal.err(`fretsaw lineage: left out: ${reason}\n`);
    await answer(positionals, { store, graph, invocation });
    return exitCodes.ok;
  },
};

interface Around {
  store: Store;
  graph: LineageGraph;
  invocation: Invocation;
}

async function answer(words: readonly string[], around: Around): Promise<void> {
  const { graph, invocation } = around;
  const { terminal, json } = invocation;
  const [verb, first, second, ...more] = words;
  if (verb === 'impact') {
    expectCount(words, 2);
    const digest = await find(around, first ?? '');
    const affected = impactOf(graph, digest);
    terminal.out(
      json ? `${JSON.stringify(impactJson(digest, affected))}\n` : impactText(digest, affected, terminal),
    );
    return;
  }
  if (verb === 'diff') {
    expectCount(words, 3);
    const difference = await diffArtifacts(
      graph,
      await find(around, first ?? ''),
      await find(around, second ?? ''),
    );
    terminal.out(
      json ? `${JSON.stringify(differenceJson(difference))}\n` : differenceText(difference, terminal),
    );
    return;
  }
  if (verb === undefined || first !== undefined || more.length > 0) throw wrongWords(words);
  const digest = await find(around, verb);
  const origins = await walkUp(graph, digest);
  terminal.out(json ? `${JSON.stringify(originsJson(origins))}\n` : originsText(origins, terminal));
}

function find({ store, graph }: Around, name: string): Promise<Digest> {
  const also = graph.makings.flatMap(({ predicate }) =>
    Object.values(predicate.outputs).map(({ digest }) => digest),
  );
  return findArtifact(store, name, { also });
}

function expectCount(words: readonly string[], count: number): void {
  if (words.length !== count) throw wrongWords(words);
}

function wrongWords(words: readonly string[]): UsageError {
  return new UsageError(
    `expected <artifact>, impact <artifact> or diff <a> <b>; found ${words.join(' ') || 'nothing'}`,
  );
}
