/**
 * Returns a function that runs `work` one at a time for all its callers. Callers share a run that has not begun. They never
 * share a run that began before their call, because it may have missed a change that the caller knows of.
 */
export function shareRuns<T>(work: () => Promise<T>): () => Promise<T> {
  let next: Promise<T> | undefined;
  let latest: Promise<unknown> = Promise.resolve();
  return () => {
    if (next === undefined) {
      const before = latest.catch(() => undefined);
      next = before.then(() => {
        next = undefined;
        return work();
      });
      latest = next;
    }
    return next;
  };
}
