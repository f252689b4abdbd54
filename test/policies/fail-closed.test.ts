import { expect, it } from 'vitest';
import { failClosed } from '../../src/policies/fail-closed.ts';
import { engineWith, permitAll, requestOf } from './fixtures.ts';

const broken = [{ id: 'pol_1', version: 1, cedar: 'nonsense' }];
const whole = [{ id: 'pol_1', version: 1, cedar: permitAll }];

it('an engine that never failed decides, and tells epoch and literals, as it would by itself', () => {
  const inner = engineWith(permitAll, 'permit(principal, action, resource) when { resource.kind == "api" };');
  const engine = failClosed(inner);
  expect(engine.decide(requestOf())).toEqual(inner.decide(requestOf()));
  expect(engine.epoch).toBe(1n);
  expect(engine.literals).toEqual(inner.literals);
});

it('an epoch older than the one that failed does not open it again', () => {
  const engine = failClosed(engineWith(permitAll));
  expect(() => engine.load(broken, 5)).toThrow('unavailable');
  expect(engine.load(whole, 4)).toBe(false);
  expect(engine.decide(requestOf()).decision).toBe('error');
  expect([engine.epoch, engine.literals.size]).toEqual([undefined, 0]);
});

it.each([5, 6])('epoch %i puts an end to the failure of epoch 5', (epoch) => {
  const engine = failClosed(engineWith(permitAll));
  expect(() => engine.load(broken, 5)).toThrow('unavailable');
  expect(engine.load(whole, epoch)).toBe(true);
  expect(engine.decide(requestOf()).decision).toBe('permit');
  expect(engine.epoch).toBe(BigInt(epoch));
});

it('a late load of an older epoch neither fails nor changes what is in force', () => {
  const engine = failClosed(engineWith(permitAll));
  engine.load(whole, 6);
  expect(engine.load(broken, 5)).toBe(false);
  expect(engine.decide(requestOf()).decision).toBe('permit');
});
