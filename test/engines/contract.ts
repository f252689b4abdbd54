import { randomBytes } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import type {
  Engine,
  FoundAccount,
  HeldSession,
  Target,
  TargetConnection,
  TargetOptions,
} from '../../src/engines/engine.ts';
import type { Mapping } from '../../src/engines/mapping.ts';
import { preflight } from '../../src/engines/preflight.ts';
import type { TargetProblemCode } from '../../src/engines/target-failure.ts';
import { addSeconds } from '../../src/platform/clock.ts';
import { atEnd } from '../support/at-end.ts';
import { soon } from './target-options.ts';

/** A server on which the contract is tested, with an admin account that may do what the broker needs and nothing more. */
export interface ContractSubject {
  engine: Engine;
  options: TargetOptions;
  /** Two mappings that exist in the target. */
  mappings: [Mapping, Mapping];
  /** A mapping that does not exist in it. */
  missing: Mapping;
}

/** A port on which nothing listens: only root may open it, and no service has it. */
const deadPort = 1;

export const newPassword = (): string =>
  randomBytes(40).toString('base64').replace(/\W/g, '').slice(0, 43).padEnd(43, 'A');
export const newPrefix = (): string => `hp_${randomBytes(6).toString('hex')}_`;
export const failure = (problem: TargetProblemCode) =>
  expect.objectContaining({ name: 'TargetFailure', problem });

/** Creates accounts with their default terms: ten minutes, made within one. */
export function createAccounts({ options, mappings }: ContractSubject, target: Target) {
  const prefix = newPrefix();
  let made = 0;
  const terms = () => {
    made += 1;
    return {
      name: `${prefix}${made}`,
      password: newPassword(),
      mappings: [mappings[0]] as readonly Mapping[],
      expiresAt: addSeconds(options.clock.now(), 600),
      deadline: addSeconds(options.clock.now(), 60),
    };
  };
  return {
    prefix,
    terms,
    async make(change: Partial<ReturnType<typeof terms>> = {}) {
      const account = { ...terms(), ...change };
      await target.create(account);
      return account;
    },
    async find(name: string) {
      return (await target.listAccounts(name)).find((account) => account.name === name);
    },
  };
}

/** Opens a target that is closed when the test file ends. */
export function openTarget(engine: Engine, options: TargetOptions, change: Partial<TargetConnection> = {}) {
  const target = engine.open({ ...options, connection: { ...options.connection, ...change } });
  atEnd(() => target.close());
  return target;
}

/** Ends an account completely. */
export async function endAccount(target: Target, name: string) {
  await target.disableAccess(name);
  await target.endSessions(name);
  return target.cleanUp(name);
}

/** Tests what the broker relies on, for every engine alike. */
export function testContract(what: string, start: () => Promise<ContractSubject>): void {
  describe(`the contract of engines: ${what}`, () => {
    let subject: ContractSubject;
    let target: Target;
    let accounts: ReturnType<typeof createAccounts>;
    beforeAll(async () => {
      subject = await start();
      target = openTarget(subject.engine, subject.options);
      accounts = createAccounts(subject, target);
    });
    /** Expects that the target ends the account at this time, if this kind of target can. */
    const expectEnd = (found: FoundAccount | undefined, at: Date): void => {
      if (subject.engine.fence === 'none') expect(found?.expiresAt).toBeNull();
      else expectNear(found?.expiresAt, at);
    };
    const hold = (account: { name: string; password: string }): Promise<HeldSession> =>
      target.holdSession(account);

    describe('an account', () => {
      it('can log in with its password, and with no other', async () => {
        const account = await accounts.make();
        const session = await hold(account);
        expect(await session.hasEnded()).toBe(false);
        await session.close();
        await expect(hold({ ...account, password: newPassword() })).rejects.toEqual(failure('login-refused'));
        await endAccount(target, account.name);
      });

      it('can have several mappings', async () => {
        const account = await accounts.make({ mappings: subject.mappings });
        await (await hold(account)).close();
        await endAccount(target, account.name);
      });

      it('is listed with its end, under its prefix only', async () => {
        const account = await accounts.make();
        const listed = await target.listAccounts(accounts.prefix);
        expect(listed.map(({ name }) => name)).toContain(account.name);
        expect(await target.listAccounts(newPrefix())).toEqual([]);
        const found = await accounts.find(account.name);
        expect(found?.canLogIn).toBe(true);
        expectEnd(found, account.expiresAt);
        await endAccount(target, account.name);
      });

      it('is not made twice: the second attempt fails and changes nothing', async () => {
        const account = await accounts.make();
        const second = target.create({ ...account, password: newPassword() });
        await expect(second).rejects.toEqual(failure('account-exists'));
        await (await hold(account)).close();
        await endAccount(target, account.name);
      });

      it('is not made once its deadline has passed', async () => {
        const account = { ...accounts.terms(), deadline: subject.options.clock.now() };
        await expect(target.create(account)).rejects.toEqual(failure('deadline-passed'));
        expect(await accounts.find(account.name)).toBeUndefined();
      });

      it('is not made with a mapping that the target does not have', async () => {
        const account = { ...accounts.terms(), mappings: [subject.missing] };
        await expect(target.create(account)).rejects.toEqual(failure('refused'));
        expect(await accounts.find(account.name)).toBeUndefined();
      });

      it('is renewed: the target ends it later, if it ends accounts by itself', async () => {
        const account = await accounts.make();
        const expiresAt = addSeconds(account.expiresAt, 3_600);
        await target.renew({ name: account.name, expiresAt });
        expectEnd(await accounts.find(account.name), expiresAt);
        await endAccount(target, account.name);
      });
    });

    describe('the end of an account', () => {
      it('refuses new logins, then ends sessions, then removes it', async () => {
        const account = await accounts.make();
        const sessions = await Promise.all([hold(account), hold(account), hold(account)]);
        await target.disableAccess(account.name);
        await expect(hold(account)).rejects.toEqual(failure('login-refused'));
        expect((await accounts.find(account.name))?.canLogIn).toBe(false);
        expect(await target.endSessions(account.name)).toBe(3);
        expect(await Promise.all(sessions.map((session) => session.hasEnded()))).toEqual([true, true, true]);
        expect(await target.cleanUp(account.name)).toEqual({ isGone: true, ownedObjects: [] });
        expect(await accounts.find(account.name)).toBeUndefined();
        await Promise.all(sessions.map((session) => session.close()));
      });

      it('may be repeated, step by step, and for an account that never existed', async () => {
        const { name } = await accounts.make();
        for (const account of [name, name, `${accounts.prefix}never`]) {
          await target.disableAccess(account);
          await target.disableAccess(account);
          await target.endSessions(account);
          expect(await target.endSessions(account)).toBe(0);
          expect((await target.cleanUp(account)).isGone).toBe(true);
          expect((await target.cleanUp(account)).isGone).toBe(true);
        }
      });

      it('is final: a renewal does not enable a disabled account', async () => {
        const account = await accounts.make();
        await target.disableAccess(account.name);
        await target.renew({ name: account.name, expiresAt: addSeconds(account.expiresAt, 3_600) });
        await expect(hold(account)).rejects.toEqual(failure('login-refused'));
        await endAccount(target, account.name);
      });

      it('does not touch another account', async () => {
        const [ended, other] = [await accounts.make(), await accounts.make()];
        const session = await hold(other);
        await endAccount(target, ended.name);
        expect(await session.hasEnded()).toBe(false);
        await session.close();
        await (await hold(other)).close();
        await endAccount(target, other.name);
      });

      it('ends 20 accounts with a session each at the same time', async () => {
        const all = await Promise.all(Array.from({ length: 20 }, () => accounts.make()));
        const sessions = await Promise.all(all.map(hold));
        const ends = await Promise.all(all.map(({ name }) => endAccount(target, name)));
        expect(ends.every(({ isGone }) => isGone)).toBe(true);
        expect(await Promise.all(sessions.map((session) => session.hasEnded()))).toEqual(all.map(() => true));
        expect(await target.listAccounts(accounts.prefix)).toEqual([]);
      });
    });

    describe('a target', () => {
      it('with a wrong admin password, or that does not answer, fails every call with the reason', async () => {
        const { engine, options } = subject;
        const cases = [
          ['login-refused', openTarget(engine, options, { password: 'wrong' })],
          ['unreachable', openTarget(engine, options, { port: deadPort })],
        ] as const;
        for (const [problem, broken] of cases) {
          const { name, expiresAt, ...terms } = accounts.terms();
          const calls = [
            broken.create({ name, expiresAt, ...terms }),
            broken.renew({ name, expiresAt }),
            broken.disableAccess(name),
            broken.endSessions(name),
            broken.cleanUp(name),
            broken.listAccounts(name),
            broken.findProblems(subject.mappings),
            broken.checkHealth(),
            broken.identify(),
          ];
          const results = await Promise.allSettled(calls);
          expect(results).toEqual(calls.map(() => ({ status: 'rejected', reason: failure(problem) })));
        }
      });

      it('answers, and has a name that stays the same', async () => {
        await target.checkHealth();
        expect(await openTarget(subject.engine, subject.options).identify()).toBe(await target.identify());
      });

      it('has no problems with mappings that exist, and names one that does not', async () => {
        expect(await target.findProblems(subject.mappings)).toEqual([]);
        const [problem, ...others] = await target.findProblems([subject.missing]);
        expect(problem?.problem).toMatch(/does not exist$/);
        expect(others).toEqual([]);
      });

      it('passes a preflight that leaves nothing', async () => {
        const account = { name: `${accounts.prefix}preflight`, password: newPassword() };
        const { clock } = subject.options;
        expect(
          await preflight({ target, mappings: subject.mappings, account, clock, record: async () => {} }),
        ).toEqual([]);
        expect(await accounts.find(account.name)).toBeUndefined();
      });

      it('gets another admin password, with which it goes on, and the old one is refused', async () => {
        const { engine, options } = subject;
        const rotated = openTarget(engine, options);
        const password = newPassword();
        await rotated.rotateAdminCredential(soon(password));
        await rotated.checkHealth();
        await openTarget(engine, options, { password }).checkHealth();
        await expect(openTarget(engine, options).checkHealth()).rejects.toEqual(failure('login-refused'));
        await rotated.rotateAdminCredential(soon(options.connection.password));
      });

      it('keeps its admin password if the deadline for another one has passed', async () => {
        const { clock } = subject.options;
        const late = { password: newPassword(), deadline: new Date(clock.now().getTime() - 1) };
        await expect(target.rotateAdminCredential(late)).rejects.toEqual(failure('deadline-passed'));
        await openTarget(subject.engine, subject.options).checkHealth();
      });
    });
  });
}

/** Whether two times are equal, apart from the time between two readings of clocks. */
function expectNear(found: Date | null | undefined, expected: Date): void {
  expect(Math.abs((found?.getTime() ?? 0) - expected.getTime())).toBeLessThan(60_000);
}
