import { describe, expect, it } from 'vitest';
import { GrantWatch } from '../../src/grants/watch.ts';
import { FakeClock } from '../support/fake-clock.ts';

function createWatch() {
  const clock = new FakeClock();
  const stamps = new Map([['grt_1', '1']]);
  const read: string[][] = [];
  const readStamps = (ids: string[]) => {
    read.push(ids);
    return Promise.resolve(stamps);
  };
  const watch = new GrantWatch({ clock, readStamps, onError: (error) => expect.fail(String(error)) });
  const wait = { stamp: '1', timeoutMs: 30_000, signal: new AbortController().signal };
  return { clock, stamps, read, watch, wait };
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

  it('returns from a wait that is aborted, before or during it, and leaves no timer', async () => {
    const { clock, watch, wait } = createWatch();
    const watcher = watch.watch('grt_1');
    const request = new AbortController();
    const waiting = watcher.wait({ ...wait, signal: request.signal });
    expect(clock.timers).toBeGreaterThan(0);
    request.abort();
    await waiting;
    await watcher.wait({ ...wait, signal: request.signal });
    expect(clock.timers).toBe(0);
  });

  it('that has stopped is not read for, while the others still are', async () => {
    const { clock, read, watch, wait } = createWatch();
    const [stopped, other] = [watch.watch('grt_2'), watch.watch('grt_1')];
    stopped.stop();
    const waiting = other.wait({ ...wait, timeoutMs: 2_000 });
    clock.advance(0.5);
    expect(read).toEqual([['grt_1']]);
    clock.advance(2);
    await waiting;
  });

  it('returns when the watch ends, and waits no more', async () => {
    const { clock, watch, wait } = createWatch();
    const watchers = ['grt_1', 'grt_1', 'grt_2'].map((id) => watch.watch(id));
    const waits = watchers.map((watcher) => watcher.wait(wait));
    expect(watch.ended).toBe(false);
    await watch.end();
    await Promise.all(waits);
    await watch.watch('grt_3').wait(wait);
    expect(watch.ended).toBe(true);
    expect(clock.timers).toBe(0);
  });
});
