/** Names in topological order (what does not depend on each other in the given order), and the cycles found. */
export interface Order {
  order: readonly string[];
  /** Each as a path that ends where it began: a, b, a. */
  cycles: readonly (readonly string[])[];
}

/** Depth first, without recursion: a chain of stages may be as long as a spec. */
export function topologicalOrder(graph: ReadonlyMap<string, readonly string[]>): Order {
  const state = new Map<string, 'open' | 'done'>();
  const order: string[] = [];
  const cycles: string[][] = [];
  for (const root of graph.keys()) {
    if (state.has(root)) continue;
    const path: { name: string; next: number }[] = [{ name: root, next: 0 }];
    state.set(root, 'open');
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const target = graph.get(top.name)?.[top.next++];
      if (target === undefined) {
        state.set(top.name, 'done');
        order.push(top.name);
        path.pop();
      } else if (state.get(target) === 'open') {
        const names = path.map(({ name }) => name);
        cycles.push([...names.slice(names.indexOf(target)), target]);
      } else if (!state.has(target) && graph.has(target)) {
        state.set(target, 'open');
        path.push({ name: target, next: 0 });
      }
    }
  }
  return { order, cycles };
}
