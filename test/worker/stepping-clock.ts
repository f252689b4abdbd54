import type { Clock } from '../../src/platform/clock.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** A clock that can be set forward or back without time passing. Timers depend on the time that passes, as in Node. */
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

  /** Lets time pass. */
  advance(seconds: number): void {
    this.#steady.advance(seconds);
  }

  /** Sets the clock forward, or back if negative. */
  step(seconds: number): void {
    this.#stepMs += seconds * 1000;
  }
}
