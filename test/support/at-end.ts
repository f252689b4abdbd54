const pending: (() => Promise<unknown>)[] = [];

/**
 * Runs `work` when the test file ends, before the work that was registered earlier. Can be called from anywhere,
 * unlike a hook, which is never called if it is registered while a test or another hook runs (vitest 4.1).
 */
export function atEnd(work: () => Promise<unknown>): void {
  pending.push(work);
}

/** Runs all registered work; called by the setup of every test file. */
export async function finishAll(): Promise<void> {
  for (let work = pending.pop(); work !== undefined; work = pending.pop()) await work();
}
