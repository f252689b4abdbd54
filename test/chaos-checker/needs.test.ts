import { describe, expect, it } from 'vitest';
import { tokensIssued } from './chances.ts';
import { minted, performed } from './hand-made.ts';
import { type Kind, kinds, type Operation } from './history.ts';
import { describeMissing, isOver, listMissing, type Needs, type Progress } from './needs.ts';

const needs: Needs = {
  successes: { 'issue-secret': 2, withdraw: 1 },
  faults: ['kill', 'crash PostgreSQL'],
  chances: [{ plant: 'event lost', agentId: 'agent', count: tokensIssued, least: 1, madeBy: ['mint'] }],
};
const enough: Progress = {
  operations: [
    performed('issue-secret', [0, 1]),
    performed('issue-secret', [2, 3]),
    performed('withdraw', [4, 5]),
    minted([10, 20]),
  ],
  faults: [{ kind: 'kill' }, { kind: 'crash PostgreSQL' }],
  storedAsEnded: new Set(),
};
const without = (kind: Kind): Operation[] => enough.operations.filter((one) => one.kind !== kind);
const missing = (changes: Partial<Progress>): string[] =>
  listMissing(needs, { ...enough, ...changes }).map(describeMissing);

describe('a run lacks', () => {
  it('nothing once everything has occurred often enough', () => {
    expect(missing({})).toEqual([]);
  });

  it.each<[string, Partial<Progress>, string]>([
    [
      'a kind of operation that never succeeded',
      { operations: without('issue-secret') },
      'issue-secret: 0 of at least 2',
    ],
    [
      'a kind of operation that succeeded too seldom',
      { operations: [...without('issue-secret'), performed('issue-secret', [0, 1])] },
      'issue-secret: 1 of at least 2',
    ],
    [
      'an operation that was refused',
      { operations: [...without('withdraw'), performed('withdraw', [4, 5], { outcome: 'refused' })] },
      'withdraw: 0 of at least 1',
    ],
    [
      'an operation whose outcome is unknown',
      { operations: [...without('withdraw'), performed('withdraw', [4, 5], { outcome: 'unknown' })] },
      'withdraw: 0 of at least 1',
    ],
    ['a kind of fault', { faults: [{ kind: 'kill' }] }, 'fault "crash PostgreSQL": 0 of at least 1'],
    [
      'a chance to find a planted fault',
      { operations: without('mint') },
      'chance to find "event lost": 0 of at least 1',
    ],
  ])('%s, and names it', (_what, changes, expected) => {
    expect(missing(changes)).toEqual([expected]);
  });

  it('each kind of operation under its name', () => {
    const successes = Object.fromEntries(kinds.map((kind) => [kind, 1]));
    const lacking = listMissing({ successes, faults: [], chances: [] }, { ...enough, operations: [] });
    expect(lacking.map(({ name }) => name)).toEqual([...kinds]);
  });
});

describe('a run', () => {
  const bounds = { leastSeconds: 10, limitSeconds: 600 };
  const lacking = listMissing(needs, { ...enough, faults: [] });

  it('ends once nothing is missing, after any time', () => {
    expect(isOver(bounds, { elapsedSeconds: 10, missing: [] })).toBe(true);
    expect(isOver(bounds, { elapsedSeconds: 599, missing: [] })).toBe(true);
  });

  it('does not end while something is missing, nor before its minimum duration', () => {
    expect(isOver(bounds, { elapsedSeconds: 599, missing: lacking })).toBe(false);
    expect(isOver(bounds, { elapsedSeconds: 9, missing: [] })).toBe(false);
  });

  it('ends at its limit, and is still incomplete', () => {
    expect(isOver(bounds, { elapsedSeconds: 600, missing: lacking })).toBe(true);
    expect(lacking).not.toEqual([]);
  });
});
