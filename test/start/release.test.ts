import { describe, expect, it } from 'vitest';
import { releaseInOrder } from '../../src/start/release.ts';

async function release(outcomes: Record<string, boolean | undefined | Error>) {
  const done: string[] = [];
  const errors: unknown[] = [];
  const releases = Object.entries(outcomes).map(([name, outcome]) => async () => {
    done.push(name);
    if (outcome instanceof Error) throw outcome;
    return outcome;
  });
  const clean = await releaseInOrder(releases, (error) => errors.push(error));
  return { clean, done, errors };
}

describe('resources are released', () => {
  it('in order, and cleanly if all ended by themselves or were never started', async () => {
    expect(await release({ api: true, metrics: undefined, broker: true })).toEqual({
      clean: true,
      done: ['api', 'metrics', 'broker'],
      errors: [],
    });
  });

  it('completely, even if one fails or is cut off', async () => {
    const failure = new Error('the pool does not close');
    expect(await release({ api: false, broker: failure, server: true })).toEqual({
      clean: false,
      done: ['api', 'broker', 'server'],
      errors: [failure],
    });
    expect((await release({ api: false })).clean).toBe(false);
  });
});
