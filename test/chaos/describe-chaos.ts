import type { Outputs } from './checks.ts';
import type { Injected } from './faults.ts';
import type { ChaosResult } from './run-chaos.ts';

/** Outputs that are not those of the undisturbed run. */
export function differences(calm: Outputs, disturbed: Outputs): string[] {
  return Object.entries(calm).flatMap(([name, digest]) =>
    disturbed[name] === digest ? [] : [`${name}: ${disturbed[name] ?? 'nothing'}, undisturbed ${digest}`],
  );
}

export function describeChaos(result: ChaosResult, found: string[]): string {
  const { seed, store, seconds, injected, twice } = result;
  const alone = result.isStoreDisturbed ? '' : ' (which this host cannot disturb)';
  const head = `seed ${seed}, store on ${store}${alone}: ${seconds.toFixed(0)} s, ${injected.length} faults`;
  const cost = `${twice.attempts} attempts, ${twice.steps} of ${twice.planned} steps twice (${twice.allowed} allowed)`;
  const lines = injected.map(({ at, what, training }) => `  ${at} s: ${what} (${training} training)`);
  return [`${head}; ${cost}`, ...lines, ...found.map((one) => `  WRONG: ${one}`)].join('\n');
}

/** Kind of fault -> how often it came, and how often while a job was training. */
export function countKinds(injected: readonly Injected[]): string[] {
  const kinds = [...new Set(injected.map(({ kind }) => kind))].sort();
  return kinds.map((kind) => {
    const those = injected.filter((one) => one.kind === kind);
    return `  ${kind}: ${those.length}, ${those.filter(({ training }) => training > 0).length} while a job trained`;
  });
}
