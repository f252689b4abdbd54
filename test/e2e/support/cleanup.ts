import { afterAll } from 'vitest';

const pending: (() => Promise<unknown>)[] = [];

/** Does `work` when the test file ends, before what was registered earlier. */
export function atEnd(work: () => Promise<unknown>): void {
  pending.push(work);
}

/**
 * Call it at the top of a file: a hook that is registered while a test or another hook runs is never called
 * (vitest 4.1), so what comes up meanwhile is kept here.
 */
export function cleanUpAtEnd(): void {
  afterAll(async () => {
    for (let work = pending.pop(); work !== undefined; work = pending.pop()) await work();
  });
}
