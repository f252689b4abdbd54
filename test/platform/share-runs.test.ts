import { expect, it } from 'vitest';
import { shareRuns } from '../../src/platform/share-runs.ts';

/** Creates work that counts its runs, each of which ends when the test ends it. */
function manualWork() {
  const ends: ((error?: Error) => void)[] = [];
  const work = () =>
    new Promise<void>((resolve, reject) => {
      ends.push((error) => (error === undefined ? resolve() : reject(error)));
    });
  return { work, ends };
}

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

it('concurrent calls share one run', async () => {
  const { work, ends } = manualWork();
  const run = shareRuns(work);
  const calls = [run(), run(), run()];
  await nextTurn();
  expect(ends).toHaveLength(1);
  ends[0]?.();
  await Promise.all(calls);
});

it('a call during a run waits for the next run, and shares it with later calls', async () => {
  const { work, ends } = manualWork();
  const run = shareRuns(work);
  const first = run();
  await nextTurn();
  const later = [run(), run()];
  await nextTurn();
  expect(ends).toHaveLength(1);
  ends[0]?.();
  await first;
  await nextTurn();
  expect(ends).toHaveLength(2);
  ends[1]?.();
  await Promise.all(later);
});

it('a failed run fails for the calls that share it, and not for later ones', async () => {
  const { work, ends } = manualWork();
  const run = shareRuns(work);
  const first = run();
  await nextTurn();
  const later = run();
  ends[0]?.(new Error('lost'));
  await expect(first).rejects.toThrow('lost');
  await nextTurn();
  ends[1]?.();
  await expect(later).resolves.toBeUndefined();
});
