import { describe, expect, it } from 'vitest';
import { isOutage } from '../../src/db/sqlstate.ts';

function failure(code: string): Error {
  return Object.assign(new Error('failed'), { code });
}

describe('an outage', () => {
  it.each([
    ['a connection that was lost', '08006'],
    ['too many connections', '53300'],
    ['a shutdown', '57P01'],
    ['an I/O error', '58030'],
    ['a statement timeout', '57014'],
    ['a lock timeout', '55P03'],
    ['a serialization failure', '40001'],
    ['a deadlock', '40P01'],
    ['a primary that was demoted', '25006'],
    ['a port without a listener', 'ECONNREFUSED'],
    ['a host that cannot be reached', 'EHOSTUNREACH'],
    ['a network that cannot be reached', 'ENETUNREACH'],
    ['a name that cannot be resolved now', 'EAI_AGAIN'],
  ])('is %s: %s', (_what, code) => {
    expect(isOutage(failure(code))).toBe(true);
  });

  it.each([
    ['a syntax error', '42601'],
    ['a division by zero', '22012'],
    ['a constraint that is violated', '23505'],
    ['an aborted transaction', '25P02'],
    ['a missing privilege', '42501'],
    ['a missing file', 'ENOENT'],
  ])('is not %s: %s', (_what, code) => {
    expect(isOutage(failure(code))).toBe(false);
  });
});
