import { expect, it } from 'vitest';
import { failClosed } from '../../src/policies/fail-closed.ts';
import { engineWith, permitAll, requestOf } from './fixtures.ts';

const broken = [{ id: 'pol_1', version: 1, cedar: 'nonsense' }];
const whole = [{ id: 'pol_1', version: 1, cedar: permitAll }];

it('an engine that never failed decides, and has the epoch and literals, as without the wrapper', () => {
  const inner = engineWith(permitAll, 'permit(principal, action, resource) when { resource.kind == "api" };');
  const engine = failClosed(inner);
  expect(engine.decide(requestOf())).toEqual(inner.decide(requestOf()));
  expect(engine.epoch).toBe(1n);
  expect(engine.literals).toEqual(inner.literals);
});

it('an epoch older than the failed one does not end the failure', () => {
  const engine = failClosed(engineWith(permitAll));
  expect(() => engine.load(broken, 5)).toThrow('unavailable');
  expect(engine.load(whole, 4)).toBe(false);
  expect(engine.decide(requestOf()).decision).toBe('error');
  expect([engine.epoch, engine.literals.size]).toEqual([undefined, 0]);
});

it.each([5, 6])('epoch %i ends the failure of epoch 5', (epoch) => {
  const engine = failClosed(engineWith(permitAll));
  expect(() => engine.load(broken, 5)).toThrow('unavailable');
  expect(engine.load(whole, epoch)).toBe(true);
  expect(engine.decide(requestOf()).decision).toBe('permit');
  expect(engine.epoch).toBe(BigInt(epoch));
});

it('a late load of an older epoch neither fails nor changes the policies in force', () => {
  const engine = failClosed(engineWith(permitAll));
  engine.load(whole, 6);
  expect(engine.load(broken, 5)).toBe(false);
  expect(engine.decide(requestOf()).decision).toBe('permit');
});
