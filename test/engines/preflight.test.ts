import { describe, expect, it } from 'vitest';
import { preflight } from '../../src/engines/preflight.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createFakeEngine, createFakeServer, type FakeServer, fakeTargetOptions } from './fake-engine.ts';

const account = { name: 'hp_preflight', password: 'p'.repeat(43) };

function run(server: FakeServer, role = 'reader') {
  const clock = new FakeClock();
  const target = createFakeEngine(server).open(fakeTargetOptions(clock));
  return preflight({ target, mappings: [{ roles: [role] }], account, clock, record: async () => {} });
}

describe('a preflight', () => {
  it('makes no account in a target with problems, and returns these', async () => {
    const server = createFakeServer('admin');
    expect(await run(server, 'nothing')).toEqual([
      { problem: 'the role nothing does not exist', statement: 'CREATE ROLE nothing' },
    ]);
    expect(server.calls).toEqual(['findProblems']);
  });

  it('returns that a target is unreachable instead of throwing', async () => {
    const server = createFakeServer('admin');
    server.faults.isUnreachable = true;
    const [problem, ...others] = await run(server);
    expect(problem?.problem).toBe('reading the roles and privileges failed: unreachable: connection refused');
    expect(others).toEqual([]);
  });

  it.each([
    ['create', 'making an account'],
    ['holdSession', 'logging in as the account'],
    ['disableAccess', 'disabling the login of the account'],
    ['endSessions', 'ending the sessions of the account'],
    ['cleanUp', 'removing the account'],
    ['listAccounts', 'checking that the account is gone'],
  ] as const)('names the step and the statement if the privilege for %s is missing', async (call, step) => {
    const server = createFakeServer('admin');
    server.faults.missingPrivilege.add(call);
    const [problem] = await run(server);
    expect(problem).toEqual({
      problem: `${step} failed: missing-privilege: not permitted: ${call}`,
      statement: `ALLOW ${call}`,
    });
  });

  it.each([
    'create',
    'holdSession',
    'disableAccess',
    'endSessions',
    'cleanUp',
    'listAccounts',
  ] as const)('destroys the account if the connection is lost after %s', async (call) => {
    const server = createFakeServer('admin');
    server.faults.lostAfter.add(call);
    expect((await run(server))[0]?.problem).toMatch(/connection lost$/);
    expect([...server.accounts.keys()]).toEqual([]);
  });

  it('notices that the target accepts any password', async () => {
    const server = createFakeServer('admin');
    server.faults.acceptsAnyPassword = true;
    expect((await run(server))[0]?.problem).toBe(
      'checking that another password is refused failed: the login succeeded',
    );
    expect([...server.accounts.keys()]).toEqual([]);
  });

  it('says that the account may still exist if it cannot be destroyed', async () => {
    const server = createFakeServer('admin');
    server.faults.missingPrivilege.add('cleanUp');
    const [, remaining] = await run(server);
    expect(remaining?.problem).toMatch(/^the account hp_preflight of this check may still exist: removing/);
  });

  it.each([
    ['disableAccess', /^ending the sessions .* can still log in$/],
    ['endSessions', /^checking that its session has ended failed: the session is still open$/],
    ['cleanUp', /^checking that the account is gone failed: the account is still there$/],
  ] as const)('notices that %s reports success and has no effect', async (call, expected) => {
    const server = createFakeServer('admin');
    server.faults.withoutEffect.add(call);
    expect((await run(server))[0]?.problem).toMatch(expected);
  });
});
