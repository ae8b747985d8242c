/** Runs `work` over all items, at most `lanes` at once; the first failure is thrown when all lanes have ended. */
export async function inParallel<T>(
  items: readonly T[],
  lanes: number,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  let hasFailed = false;
  const lane = async (): Promise<void> => {
    for (let index = next++; index < items.length && !hasFailed; index = next++) {
      const item = items[index];
      if (item === undefined) continue;
      await work(item, index).catch((error: unknown) => {
        hasFailed = true;
        throw error;
      });
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: Math.min(lanes, items.length) }, lane));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}
