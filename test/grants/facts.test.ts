import { describe, expect, it } from 'vitest';
import { maxRisk, type Risk, timeFacts } from '../../src/grants/facts.ts';

describe('timeFacts', () => {
  it('gives the hour and the ISO weekday in UTC, Monday 1 to Sunday 7', () => {
    expect(timeFacts(new Date('2026-03-02T00:30:00+02:00'))).toEqual({ hour: 22, weekday: 7 });
    expect(timeFacts(new Date('2026-03-02T10:00:00Z'))).toEqual({ hour: 10, weekday: 1 });
  });
});

describe('maxRisk', () => {
  const risks = new Map<string, Risk>([
    ['read', 'low'],
    ['write', 'medium'],
    ['drop', 'high'],
  ]);
  it('is the highest of the scopes', () => {
    expect(maxRisk(['read'], risks)).toBe('low');
    expect(maxRisk(['write', 'read'], risks)).toBe('medium');
    expect(maxRisk(['read', 'drop', 'write'], risks)).toBe('high');
  });
  it('counts a scope that is not in the catalogue as high', () => {
    expect(maxRisk(['read', 'unknown'], risks)).toBe('high');
  });
});
