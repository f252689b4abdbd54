import { afterEach, describe, expect, it } from 'vitest';
import { schedules } from '../../src/worker/schedules.ts';
import { slotsOf } from '../../src/worker/slots.ts';
import { startTicks } from '../../src/worker/ticks.ts';
import { SteppingClock } from './stepping-clock.ts';

const zone = process.env.TZ;
afterEach(() => {
  if (zone === undefined) delete process.env.TZ;
  else process.env.TZ = zone;
});

function collect(schedule: string, clock: SteppingClock): { slots: string[]; stop(): void } {
  const slots: string[] = [];
  const ticks = startTicks({ schedule, clock, onTick: (slot) => slots.push(slot.toISOString()) });
  return { slots, stop: ticks.stop };
}

describe('the slots of a schedule', () => {
  it.each([
    ['*/10 * * * * *', '2026-03-02T10:00:00.000Z', '2026-03-02T10:00:10.000Z'],
    ['*/10 * * * * *', '2026-03-02T10:00:09.999Z', '2026-03-02T10:00:10.000Z'],
    ['0 17 3 * * *', '2026-03-02T03:17:00.000Z', '2026-03-03T03:17:00.000Z'],
    ['0 0 * * * *', '2026-12-31T23:00:00.001Z', '2027-01-01T00:00:00.000Z'],
    ['0 0 0 * * *', '2028-02-28T12:00:00.000Z', '2028-02-29T00:00:00.000Z'],
    ['5 0,30 1-2 * * *', '2026-03-02T01:30:05.000Z', '2026-03-02T02:00:05.000Z'],
  ])('%s after %s is %s', (schedule, after, next) => {
    expect(slotsOf(schedule)(new Date(after)).toISOString()).toBe(next);
  });

  it.each([
    '',
    '* * * *',
    '60 * * * * *',
    '0 0 0 1 * *',
    '0 0 0 * 6 *',
    '0 0 0 * * 1',
  ])('are refused for "%s"', (schedule) => {
    expect(() => slotsOf(schedule)).toThrow();
  });
});

describe('ticks', () => {
  it.each([
    ['to', '2026-03-28T23:59:30Z'],
    ['from', '2026-10-24T23:59:30Z'],
  ])('occur once per slot across the change %s summer time in the zone of the machine', (_way, start) => {
    process.env.TZ = 'Europe/Berlin';
    const clock = new SteppingClock(start);
    const quarters = collect('0 */15 * * * *', clock);
    const daily = collect('0 17 3 * * *', clock);
    clock.advance(4 * 3600);
    const midnight = Date.parse(start) + 30_000;
    const expected = Array.from({ length: 16 }, (_, i) => new Date(midnight + i * 900_000).toISOString());
    expect(quarters.slots).toEqual(expected);
    expect(daily.slots).toEqual([new Date(midnight + 197 * 60_000).toISOString()]);
  });

  it('have the same slots on replicas that started at different times', () => {
    const clocks = ['10:00:03.789', '10:00:04.001'].map((time) => new SteppingClock(`2026-03-02T${time}Z`));
    const seen = clocks.map((clock) => {
      const { slots } = collect('*/10 * * * * *', clock);
      clock.advance(60);
      return slots;
    });
    expect(seen[0]).toHaveLength(6);
    expect(seen[0]).toEqual(seen[1]);
  });

  it('occur once for all slots that passed while the process was suspended, and then for each slot again', () => {
    const clock = new SteppingClock('2026-03-02T10:00:55Z');
    const { slots } = collect('0 * * * * *', clock);
    clock.step(3600);
    clock.advance(65);
    expect(slots).toEqual(['2026-03-02T10:01:00.000Z', '2026-03-02T11:02:00.000Z']);
  });

  it('follow the clock within a minute after it was set back', () => {
    const clock = new SteppingClock('2026-03-02T10:00:55Z');
    const { slots } = collect('0 0 * * * *', clock);
    clock.step(-3600);
    clock.advance(120);
    expect(slots).toEqual([]);
    clock.advance(3600);
    expect(slots).toEqual(['2026-03-02T10:00:00.000Z']);
  });

  it('do not occur after they are stopped, and leave no timer', () => {
    const clock = new SteppingClock();
    const { slots, stop } = collect('*/10 * * * * *', clock);
    clock.advance(25);
    stop();
    clock.advance(60);
    expect([slots.length, clock.timers]).toEqual([2, 0]);
  });

  it('occur as often in an hour as each schedule in the table says', () => {
    const clock = new SteppingClock('2026-03-02T03:00:05Z');
    const names = Object.keys(schedules) as (keyof typeof schedules)[];
    const all = names.map((name) => [name, collect(schedules[name], clock)] as const);
    clock.advance(3600);
    expect(Object.fromEntries(all.map(([name, { slots }]) => [name, slots.length]))).toEqual({
      'clean-up-targets': 60,
      'expire-grants': 360,
      'lapse-requests': 120,
      'read-feeds': 720,
      'reconcile-targets': 60,
      'rotate-keys': 60,
      'rotate-target-passwords': 360,
      'test-targets': 60,
      'make-partitions': 1,
      'drop-partitions': 1,
      'drop-idempotency-records': 6,
    });
  });
});
