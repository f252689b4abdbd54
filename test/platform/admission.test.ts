import { expect, it } from 'vitest';
import { createAdmission } from '../../src/platform/admission.ts';

const full = new Error('full');

it.each([
  ['in all', { most: 2, mostOfOne: 9 }, ['a', 'b'], 'c'],
  ['of one', { most: 9, mostOfOne: 2 }, ['a', 'a'], 'a'],
])('lets so many in %s, and others once one has left', (_, bounds, keys, next) => {
  const { enter } = createAdmission({ ...bounds, full });
  const [leave] = keys.map((key) => enter(key));
  expect(() => enter(next)).toThrow(full);
  leave?.();
  enter(next);
  expect(() => enter(next)).toThrow(full);
});

it('of one key says nothing of another', () => {
  const { enter } = createAdmission({ most: 9, mostOfOne: 1, full });
  const leave = enter('a');
  enter('b');
  expect(() => enter('a')).toThrow(full);
  leave();
  enter('a');
});
