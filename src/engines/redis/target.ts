import { assertBefore } from '../deadline.ts';
import type { Target, TargetOptions } from '../engine.ts';
import { cleanUp } from './clean-up.ts';
import { createAccount } from './create.ts';
import { disableAccess } from './disable.ts';
import { endSessions } from './end-sessions.ts';
import { findProblems } from './find-problems.ts';
import { toHeldSession } from './held-session.ts';
import { rotateAdmin } from './rotate.ts';
import { ruleSetsOf } from './rules.ts';
import { openServers } from './servers.ts';
import { listAccounts } from './users.ts';

/** Opens a Redis server and its replicas. Each call is in the file of its name. */
export function openTarget(options: TargetOptions): Target {
  const { clock, random, timeoutMs } = options;
  const { username } = options.connection;
  const servers = openServers(options);
  const { run } = servers;
  const ping = (): Promise<void> =>
    run(async (call) => void (await call.onEach((session) => session.ask([['PING']]))));
  return {
    async create(account) {
      assertBefore(account.deadline, clock);
      const ruleSets = ruleSetsOf(account.mappings);
      await run((call) => createAccount(call, { account, ruleSets, clock, random }));
    },
    // Redis ends no user by itself.
    renew: ping,
    disableAccess: (name) => run((call) => disableAccess(call, name)),
    endSessions: (name) => run((call) => endSessions(call, name)),
    cleanUp: (name) => run((call) => cleanUp(call, name)),
    listAccounts: (prefix) => run((call) => listAccounts(call, prefix)),
    async rotateAdminCredential({ password, deadline }) {
      await run((call) => rotateAdmin(call, { username, password }, () => assertBefore(deadline, clock)));
      servers.changePassword(password);
    },
    checkHealth: ping,
    findProblems: (mappings) =>
      run((call) => findProblems(call, { username, ruleSets: ruleSetsOf(mappings), random })),
    holdSession: ({ name, password }) =>
      run(async (call) =>
        toHeldSession(await call.logIn({ username: name, password }), { name, password, timeoutMs }),
      ),
    // A server has another run_id after each start, and nothing else that tells it from others.
    identify: () => ping().then(() => undefined),
    close: () => servers.close(),
  };
}
