import { assertBefore } from '../deadline.ts';
import type { Target, TargetOptions } from '../engine.ts';
import { changeOwnPassword, listAccounts, readServerName } from './accounts.ts';
import { cleanUp } from './clean-up.ts';
import { openConnections, type Session } from './connections.ts';
import { createAccount } from './create.ts';
import { disableAccess } from './disable.ts';
import { endSessions } from './end-sessions.ts';
import { findProblems } from './find-problems.ts';
import { toHeldSession } from './held-session.ts';
import { rolesOf } from './mapped-roles.ts';

/** Opens a MariaDB server. Each call is in the file of its name. */
export function openTarget(options: TargetOptions): Target {
  const { clock } = options;
  const connections = openConnections(options);
  const { run } = connections;
  const checkHealth = (): Promise<void> =>
    run((call) => call.onPrimary(async (session) => void (await session.query('select 1'))));
  return {
    async create(account) {
      assertBefore(account.deadline, clock);
      await run((call) => createAccount(call, { account, roles: rolesOf(account.mappings), clock }));
    },
    // The server ends no account by itself.
    renew: checkHealth,
    disableAccess: (name) => run((call) => call.onPrimary((session) => disableAccess(session, name))),
    endSessions: (name) => run((call) => endSessions(call, name)),
    cleanUp: (name) => run((call) => call.onPrimary((session) => cleanUp(session, name))),
    listAccounts: (prefix) => run((call) => call.onPrimary((session) => listAccounts(session, prefix))),
    async rotateAdminCredential({ password, deadline }) {
      const change = (session: Session): Promise<void> => {
        assertBefore(deadline, clock);
        return changeOwnPassword(session, password);
      };
      await run((call) => call.onPrimary(change));
      connections.changePassword(password);
    },
    checkHealth,
    findProblems: (mappings) => run((call) => findProblems(call, rolesOf(mappings))),
    holdSession: (account) => run(async (call) => toHeldSession(await call.logIn(account))),
    identify: () => run((call) => call.onPrimary(readServerName)),
    close: async () => connections.close(),
  };
}
