import { addSeconds, type Clock } from '../platform/clock.ts';
import type { HeldSession, NewAccount, Target, TargetProblem } from './engine.ts';
import type { Mapping } from './mapping.ts';
import { TargetFailure } from './target-failure.ts';

export interface Preflight {
  target: Target;
  /** The mappings of all scopes. */
  mappings: readonly Mapping[];
  /** The name and the password of the account that is made for the check. */
  account: Pick<NewAccount, 'name' | 'password'>;
  clock: Clock;
  /** Stores the name of the account, just before the account may come into being. */
  record: () => Promise<void>;
}

/** How long the account of a preflight may exist if nothing ends it. */
const accountSeconds = 300;
const deadlineSeconds = 30;

/** An unexpected result of a step, which is not an error of the target. */
class FailedStep extends Error {}

/**
 * Makes an account in a target, uses it and destroys it, because a target in which leases could not be ended must be refused
 * before it is used. Destroys the account even if a step fails.
 *
 * @returns the problems of the first step that has any; empty if leases work. Does not throw `TargetFailure`.
 */
export async function preflight({
  target,
  mappings,
  account,
  clock,
  record,
}: Preflight): Promise<TargetProblem[]> {
  const found = await attempt('reading the roles and privileges', () => target.findProblems(mappings));
  if ('problem' in found) return [found];
  if (found.result.length > 0) return found.result;
  await record();
  const now = clock.now();
  const made = await attempt('making an account', () =>
    target.create({
      ...account,
      mappings,
      expiresAt: addSeconds(now, accountSeconds),
      deadline: addSeconds(now, deadlineSeconds),
    }),
  );
  const problem = 'problem' in made ? made : await useAndEnd(target, account);
  if (problem === undefined) return [];
  const remaining = await destroy(target, account.name);
  return [problem, ...(remaining === undefined ? [] : [remaining])];
}

async function useAndEnd(target: Target, account: Preflight['account']): Promise<TargetProblem | undefined> {
  const login = await attempt('logging in as the account', () => target.holdSession(account));
  if ('problem' in login) return login;
  try {
    return await endAccount(target, { account, session: login.result });
  } finally {
    await login.result.close();
  }
}

/**
 * Checks that the password counts, does what ends a lease, and checks after each step that it had its effect. Returns the first
 * problem.
 */
async function endAccount(
  target: Target,
  { account, session }: { account: Preflight['account']; session: HeldSession },
): Promise<TargetProblem | undefined> {
  const { name } = account;
  const steps: [what: string, step: () => Promise<unknown>][] = [
    [
      'checking that another password is refused',
      () => failIfLogsIn(target, { name, password: otherThan(account.password) }),
    ],
    ['disabling the login of the account', () => target.disableAccess(name)],
    ['ending the sessions of the account', () => target.endSessions(name)],
    [
      'checking that its session has ended',
      async () => failUnless(await session.hasEnded(), 'the session is still open'),
    ],
    ['checking that the account can no longer log in', () => failIfLogsIn(target, account)],
    [
      'removing the account',
      async () => failUnless((await target.cleanUp(name)).isGone, 'the account still owns objects'),
    ],
    [
      'checking that the account is gone',
      async () => {
        const left = await target.listAccounts(name);
        failUnless(!left.some((found) => found.name === name), 'the account is still there');
      },
    ],
  ];
  for (const [what, step] of steps) {
    const outcome = await attempt(what, step);
    if ('problem' in outcome) return outcome;
  }
  return undefined;
}

function failUnless(holds: boolean, otherwise: string): void {
  if (!holds) throw new FailedStep(otherwise);
}

async function failIfLogsIn(target: Target, account: Preflight['account']): Promise<void> {
  const session = await target.holdSession(account).catch((error: unknown) => {
    if (error instanceof TargetFailure && error.problem === 'login-refused') return undefined;
    throw error;
  });
  await session?.close();
  failUnless(session === undefined, 'the login succeeded');
}

/** Returns another password of the same form. */
function otherThan(password: string): string {
  return password.replace(/^./, (first) => (first === 'A' ? 'B' : 'A'));
}

/** Destroys the account after a failed step. Returns the problem if it may still exist. */
async function destroy(target: Target, name: string): Promise<TargetProblem | undefined> {
  const outcomes = [
    await attempt('disabling the login of the account', () => target.disableAccess(name)),
    await attempt('ending the sessions of the account', () => target.endSessions(name)),
    await attempt('removing the account', () => target.cleanUp(name)),
  ];
  const failure = outcomes.find((outcome) => 'problem' in outcome);
  if (failure === undefined) return undefined;
  return { ...failure, problem: `the account ${name} of this check may still exist: ${failure.problem}` };
}

/** Runs a step. Converts a failure of the target to a problem that names the step. */
async function attempt<T>(what: string, step: () => Promise<T>): Promise<{ result: T } | TargetProblem> {
  try {
    return { result: await step() };
  } catch (error) {
    if (error instanceof FailedStep) return { problem: `${what} failed: ${error.message}` };
    if (!(error instanceof TargetFailure)) throw error;
    return { problem: `${what} failed: ${error.message}`, statement: error.statement };
  }
}
