import { describe, expect, it } from 'vitest';
import { maxRisk, normaliseAddress, type Risk, timeFacts } from '../../src/policies/facts.ts';

describe('normaliseAddress', () => {
  it.each([
    ['203.0.113.7', '203.0.113.7'],
    ['::ffff:1.2.3.4', '1.2.3.4'],
    ['::FFFF:102:304', '1.2.3.4'],
    ['fe80::1%eth0', 'fe80::1'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
  ])('spells %s as %s', (given, expected) => {
    expect(normaliseAddress(given)).toBe(expected);
  });

  it.each([
    '',
    'localhost',
    '127.1',
    '0x7f000001',
    '2130706433',
    '1.2.3.4/8',
    '1.2.3.4, 5.6.7.8',
    ':::',
  ])('knows no address in "%s"', (given) => {
    expect(normaliseAddress(given)).toBeUndefined();
  });
});

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
  it('counts a scope that the catalogue does not know as high', () => {
    expect(maxRisk(['read', 'unknown'], risks)).toBe('high');
  });
});
