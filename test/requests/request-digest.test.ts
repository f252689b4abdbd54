import { describe, expect, it } from 'vitest';
import { requestDigest } from '../../src/requests/request-digest.ts';

const terms = {
  agentId: 'agt_1',
  resource: 'https://api.example',
  scopes: ['read', 'write'],
  durationSeconds: 600,
  reason: 'because',
  ticket: null,
  authorizationDetails: null,
};
const catalogue = [
  { name: 'read', description: 'Read', risk: 'low' as const },
  { name: 'write', description: 'Write', risk: 'medium' as const },
  { name: 'other', description: 'Other', risk: 'high' as const },
];
const digest = requestDigest(terms, catalogue);

describe('request_digest', () => {
  it('is 256 bits in base64url, the same for the same terms in any order', () => {
    expect(digest).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(requestDigest({ ...terms, scopes: ['write', 'read'] }, [...catalogue].reverse())).toBe(digest);
  });

  it.each([
    ['agent', { agentId: 'agt_2' }],
    ['resource', { resource: 'https://other.example' }],
    ['scopes', { scopes: ['read'] }],
    ['duration', { durationSeconds: 601 }],
    ['reason', { reason: 'because!' }],
    ['ticket', { ticket: 'T-1' }],
    ['details', { authorizationDetails: [{ type: 'llm', models: ['a'] }] }],
  ])('changes with the %s', (_what, change) => {
    expect(requestDigest({ ...terms, ...change }, catalogue)).not.toBe(digest);
  });

  it('changes with the text or risk of a requested scope, and of no other scope', () => {
    const changed = (name: string, change: object) =>
      requestDigest(
        terms,
        catalogue.map((scope) => (scope.name === name ? { ...scope, ...change } : scope)),
      );
    expect(changed('read', { description: 'Read all' })).not.toBe(digest);
    expect(changed('read', { risk: 'high' as const })).not.toBe(digest);
    expect(changed('other', { description: 'x' })).toBe(digest);
  });

  it('changes with every member of a detail, but not with the order of members', () => {
    const of = (detail: { type: string; [member: string]: unknown }) =>
      requestDigest({ ...terms, authorizationDetails: [detail] }, catalogue);
    const known = of({ type: 'llm', models: ['a', 'b'], limits: { x: 1, y: 2 } });
    expect(of({ limits: { y: 2, x: 1 }, models: ['a', 'b'], type: 'llm' })).toBe(known);
    expect(of({ type: 'llm', models: ['a', 'b'], limits: { x: 1, y: 3 } })).not.toBe(known);
    expect(of({ type: 'llm', models: ['a'], limits: { x: 1, y: 2 } })).not.toBe(known);
  });

  it('of terms without details is the same as in versions without details, so that earlier approvals stay valid', () => {
    expect(digest).toBe('OxkrLbXIY9RHt5poDDu70ANY6jZhynRr8UyO4B7VuoU');
  });

  it('cannot be made equal by moving text between fields', () => {
    const one = requestDigest({ ...terms, reason: 'a', ticket: 'b' }, catalogue);
    const other = requestDigest({ ...terms, reason: 'a","b', ticket: null }, catalogue);
    expect(one).not.toBe(other);
  });
});
