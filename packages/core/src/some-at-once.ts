/** How many small files are asked for at once: enough to hide what each takes to answer, few enough to be held. */
const AT_ONCE = 8;

/**
 * What `work` makes of each item, some at once, in their order. Begins nothing more after a failure, and rejects with
 * the first when all that had begun is over.
 */
export async function someAtOnce<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const failures: unknown[] = [];
  const queue = items.entries();
  const worker = async () => {
    for (const [index, item] of queue) {
      if (failures.length > 0) return;
      try {
        results[index] = await work(item);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, items.length) }, worker));
  if (failures.length > 0) throw failures[0];
  return results;
}
