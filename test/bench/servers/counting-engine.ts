import type { Engine, FoundAccount, NewAccount, Target } from '../../../src/engines/engine.ts';
import type { Engines } from '../../../src/engines/engines.ts';
import type { TargetFailure, TargetProblemCode } from '../../../src/engines/target-failure.ts';
import { benchAccountPrefix, type endingCalls } from '../lease-accounts.ts';

type FailureClass = new (problem: TargetProblemCode, detail: string) => TargetFailure;

/** A fake engine that counts how often each account was ended. */
export interface CountingEngine {
  engines: Engines;
  /** The number of calls of each kind for each account, by the number in its name. */
  calls: Record<(typeof endingCalls)[number], Uint8Array>;
}

/**
 * Creates an engine whose targets are in memory. `Failure` is the class of the build that uses the engine. Of the accounts
 * that the benchmark inserts it keeps nothing but the counts, so that the memory of the process is that of the broker.
 */
export function createCountingEngine(accounts: number, Failure: FailureClass): CountingEngine {
  const counts = (): Uint8Array => new Uint8Array(accounts + 1);
  const calls = { disableAccess: counts(), endSessions: counts(), cleanUp: counts() };
  const count = (call: keyof typeof calls, name: string): void => {
    if (!name.startsWith(benchAccountPrefix)) return;
    const number = Number(name.slice(benchAccountPrefix.length));
    calls[call][number] = (calls[call][number] ?? 0) + 1;
  };
  const engine: Engine = {
    fence: 'valid_until',
    defaultPort: 5432,
    mappingProblem: () => undefined,
    open: () => openTarget(Failure, count),
  };
  const engines: Engines = { postgres: engine, mysql: engine, redis: engine, rabbitmq: engine };
  return { engines, calls };
}

function openTarget(
  Failure: FailureClass,
  count: (call: (typeof endingCalls)[number], name: string) => void,
): Target {
  const made = new Map<string, NewAccount & { canLogIn: boolean; sessions: number }>();
  return {
    create: async (account) => void made.set(account.name, { ...account, canLogIn: true, sessions: 0 }),
    renew: async () => {},
    async disableAccess(name) {
      count('disableAccess', name);
      const account = made.get(name);
      if (account !== undefined) account.canLogIn = false;
    },
    async endSessions(name) {
      count('endSessions', name);
      const account = made.get(name);
      const { sessions = 0 } = account ?? {};
      if (account !== undefined) account.sessions = 0;
      return sessions;
    },
    async cleanUp(name) {
      count('cleanUp', name);
      made.delete(name);
      return { isGone: true, ownedObjects: [] };
    },
    listAccounts: async (prefix) =>
      [...made.values()].filter(({ name }) => name.startsWith(prefix)).map(toFound),
    rotateAdminCredential: async () => {},
    // Keeps the comparison of targets with leases away: it would find that no account exists.
    checkHealth: async () => {
      throw new Failure('unreachable', 'a fake target');
    },
    findProblems: async () => [],
    async holdSession({ name, password }) {
      const account = made.get(name);
      if (account?.canLogIn !== true || account.password !== password)
        throw new Failure('login-refused', 'wrong password');
      account.sessions += 1;
      return { hasEnded: async () => account.sessions === 0, close: async () => {} };
    },
    identify: async () => undefined,
    close: async () => {},
  };
}

const toFound = ({ name, canLogIn, expiresAt }: NewAccount & { canLogIn: boolean }): FoundAccount => ({
  name,
  canLogIn,
  expiresAt,
});
