import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import type { Exchange } from '../../../src/http/edge.ts';
import { createLimits, RateLimited } from '../../../src/http/limits.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/** test/http/rate-limit.test.ts checks that a million keys leave at most 100,000 entries. */
const million = 1_000_000;
const mostKeys = 100_000;
const mebibyte = 2 ** 20;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function usedHeap(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

function exchangeOf(address: string): Exchange {
  const about = { method: 'POST', operation: 'issueToken', caller: undefined, code: undefined };
  return { requestId: 'req_1', address, headers: [], limits: [], extra: [], ...about };
}

const addressOf = (n: number): string => `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`;
const callerOf = (n: number): string => `agt_${n.toString().padStart(26, '0')}`;

it('a million addresses and a million callers take no more memory than the first hundred thousand, in any pattern', () => {
  const clock = new FakeClock();
  const limits = createLimits({ clock, perSecond: 1000, onLimited: () => {} });
  const ask = (n: number): void => {
    const exchange = exchangeOf(addressOf(n));
    limits.countAddress(exchange);
    limits.countCaller(exchange, callerOf(n));
    if (n % 10 === 0) limits.countFailure(exchange);
  };
  for (let n = 0; n < mostKeys; n += 1) ask(n);
  const full = usedHeap();
  for (let n = mostKeys; n < million; n += 1) {
    ask(n);
    // Hardly any time passes: the flood is faster than any debt is paid off.
    if (n % 250_000 === 0) clock.advance(0.5);
  }
  // All of them, at some 200 bytes each, would take 350 MiB more.
  expect((usedHeap() - full) / mebibyte).toBeLessThan(24);
  // It still limits: the most recent key is remembered.
  const last = exchangeOf(addressOf(million - 1));
  const askAll = (): void => {
    for (let n = 0; n < 1000; n += 1) limits.countAddress(last);
  };
  expect(askAll).toThrow(RateLimited);
}, 300_000);
