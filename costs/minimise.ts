/** Nelder and Mead's simplex: a few unknowns, no derivatives, the same answer each time. */
export function minimise(
  cost: (point: readonly number[]) => number,
  start: readonly number[],
  options: { step: number; steps: number },
): { point: number[]; cost: number } {
  const corners = [
    [...start],
    ...start.map((_, axis) => start.map((value, index) => value + (index === axis ? options.step : 0))),
  ];
  let simplex = corners.map((point) => ({ point, cost: cost(point) }));
  for (let step = 0; step < options.steps; step++) {
    simplex.sort((a, b) => a.cost - b.cost);
    simplex = move(simplex, cost);
  }
  simplex.sort((a, b) => a.cost - b.cost);
  return simplex[0] ?? { point: [...start], cost: cost(start) };
}

interface Corner {
  point: number[];
  cost: number;
}

/** Reflects the worst corner through the others; goes further when that pays, closer when it does not. */
function move(simplex: readonly Corner[], cost: (point: readonly number[]) => number): Corner[] {
  const best = simplex[0];
  const worst = simplex.at(-1);
  if (best === undefined || worst === undefined) return [...simplex];
  const others = simplex.slice(0, -1);
  const centre = worst.point.map(
    (_, axis) => others.reduce((sum, corner) => sum + (corner.point[axis] ?? 0), 0) / others.length,
  );
  const along = (factor: number): Corner => {
    const point = centre.map((value, axis) => value + factor * (value - (worst.point[axis] ?? 0)));
    return { point, cost: cost(point) };
  };
  const reflected = along(1);
  if (reflected.cost < best.cost) {
    const further = along(2);
    return [...others, further.cost < reflected.cost ? further : reflected];
  }
  if (reflected.cost < (others.at(-1)?.cost ?? Infinity)) return [...others, reflected];
  const closer = along(reflected.cost < worst.cost ? 0.5 : -0.5);
  if (closer.cost < Math.min(worst.cost, reflected.cost)) return [...others, closer];
  return simplex.map((corner) => {
    if (corner === best) return corner;
    const point = corner.point.map((value, axis) => ((best.point[axis] ?? 0) + value) / 2);
    return { point, cost: cost(point) };
  });
}
