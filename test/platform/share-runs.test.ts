import { expect, it } from 'vitest';
import { shareRuns } from '../../src/platform/share-runs.ts';

/** Work that counts its runs and ends when told to. */
function manualWork() {
  const ends: ((error?: Error) => void)[] = [];
  const work = () =>
    new Promise<void>((resolve, reject) => {
      ends.push((error) => (error === undefined ? resolve() : reject(error)));
    });
  return { work, ends };
}

const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

it('calls at the same time share one run', async () => {
  const { work, ends } = manualWork();
  const run = shareRuns(work);
  const calls = [run(), run(), run()];
  await settle();
  expect(ends).toHaveLength(1);
  ends[0]?.();
  await Promise.all(calls);
});

it('a call that comes while one runs waits for a run of its own, shared with those after it', async () => {
  const { work, ends } = manualWork();
  const run = shareRuns(work);
  const first = run();
  await settle();
  const later = [run(), run()];
  await settle();
  expect(ends).toHaveLength(1);
  ends[0]?.();
  await first;
  await settle();
  expect(ends).toHaveLength(2);
  ends[1]?.();
  await Promise.all(later);
});

it('a run that fails fails for those who share it, and not for those after it', async () => {
  const { work, ends } = manualWork();
  const run = shareRuns(work);
  const first = run();
  await settle();
  const later = run();
  ends[0]?.(new Error('lost'));
  await expect(first).rejects.toThrow('lost');
  await settle();
  ends[1]?.();
  await expect(later).resolves.toBeUndefined();
});
