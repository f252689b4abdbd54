import type { Clock } from '../../src/platform/clock.ts';

interface Pending {
  at: number;
  run: () => void;
}

/** A clock that only moves when it is advanced. Timers fire, in order, meanwhile. */
export class FakeClock implements Clock {
  #nowMs: number;
  #pending = new Set<Pending>();

  constructor(start = '2026-03-02T10:00:00.000Z') {
    this.#nowMs = Date.parse(start);
  }

  now(): Date {
    return new Date(this.#nowMs);
  }

  setTimer(delayMs: number, run: () => void): { cancel(): void } {
    const entry = { at: this.#nowMs + delayMs, run };
    this.#pending.add(entry);
    return { cancel: () => this.#pending.delete(entry) };
  }

  /** The number of waiting timers. More at the end of a test than at its beginning means a leak. */
  get timers(): number {
    return this.#pending.size;
  }

  advance(seconds: number): void {
    const until = this.#nowMs + seconds * 1000;
    for (;;) {
      const due = [...this.#pending].filter((entry) => entry.at <= until).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#pending.delete(due);
      this.#nowMs = Math.max(this.#nowMs, due.at);
      due.run();
    }
    this.#nowMs = until;
  }
}
