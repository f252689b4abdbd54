const pending: (() => Promise<unknown>)[] = [];

/**
 * Does `work` when the test file ends, before what was registered earlier. Works from anywhere: a hook that is registered
 * while a test or another hook runs is never called (vitest 4.1).
 */
export function atEnd(work: () => Promise<unknown>): void {
  pending.push(work);
}

/** Does what is pending; called by the set-up of every test file. */
export async function finishAll(): Promise<void> {
  for (let work = pending.pop(); work !== undefined; work = pending.pop()) await work();
}
