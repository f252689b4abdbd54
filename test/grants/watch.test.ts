import { describe, expect, it } from 'vitest';
import { GrantWatch } from '../../src/grants/watch.ts';
import { FakeClock } from '../support/fake-clock.ts';

function createWatch() {
  const clock = new FakeClock();
  const stamps = new Map([['grt_1', '1']]);
  const readStamps = () => Promise.resolve(stamps);
  const watch = new GrantWatch({ clock, readStamps, onError: (error) => expect.fail(String(error)) });
  const wait = { stamp: '1', timeoutMs: 30_000, signal: new AbortController().signal };
  return { clock, stamps, watch, wait };
}

describe('a watcher of a grant', () => {
  it('misses no change between the reading of the grant and the wait', async () => {
    const { clock, watch, wait } = createWatch();
    const watcher = watch.watch('grt_1');
    watch.changed('grt_1');
    await watcher.wait(wait);
    expect(clock.timers).toBe(0);
  });

  it('waits again after a reported change, and not for changes of other grants', async () => {
    const { clock, watch, wait } = createWatch();
    const watcher = watch.watch('grt_1');
    const first = watcher.wait(wait);
    watch.changed('grt_1');
    await first;
    let done = false;
    const second = watcher.wait(wait).then(() => {
      done = true;
    });
    watch.changed('grt_2');
    await new Promise((resolve) => setImmediate(resolve));
    expect(done).toBe(false);
    clock.advance(30);
    await second;
    watcher.stop();
    expect(clock.timers).toBe(0);
  });

  it('notices a change by another replica at the next read', async () => {
    const { clock, stamps, watch, wait } = createWatch();
    const waiting = watch.watch('grt_1').wait(wait);
    stamps.set('grt_1', '2');
    clock.advance(0.5);
    await waiting;
    expect(clock.timers).toBe(0);
  });
});
