import type { Clock } from '../../src/platform/clock.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** A clock that can be put forward or back without time passing: timers run by the time that passes, as in Node. */
export class SteppingClock implements Clock {
  readonly #steady: FakeClock;
  #stepMs = 0;

  constructor(start?: string) {
    this.#steady = new FakeClock(start);
  }

  now(): Date {
    return new Date(this.#steady.now().getTime() + this.#stepMs);
  }

  setTimer(delayMs: number, run: () => void): { cancel(): void } {
    return this.#steady.setTimer(delayMs, run);
  }

  get timers(): number {
    return this.#steady.timers;
  }

  /** Time passes. */
  advance(seconds: number): void {
    this.#steady.advance(seconds);
  }

  /** The clock is put forward (or back, if negative). */
  step(seconds: number): void {
    this.#stepMs += seconds * 1000;
  }
}
