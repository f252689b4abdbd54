import { assertBefore } from '../deadline.ts';
import type { Target, TargetOptions } from '../engine.ts';
import { changeOwnPassword, listAccounts, readSystemIdentifier } from './accounts.ts';
import { cleanUp } from './clean-up.ts';
import { cleanUpTogether } from './clean-up-together.ts';
import { openConnections } from './connections.ts';
import { createAccount, renewAccount } from './create.ts';
import { disableAccess } from './disable.ts';
import { disableTogether } from './disable-together.ts';
import { endSessions } from './end-sessions.ts';
import { endSessionsTogether } from './end-sessions-together.ts';
import { findProblems } from './find-problems.ts';
import { toHeldSession } from './held-session.ts';
import { inBatches } from './in-batches.ts';
import { rolesOf } from './mapped-roles.ts';
import { computeVerifier, saltBytes } from './scram.ts';

/**
 * The most accounts that wait to be ended alone. An agent may have a hundred that are slow to end; they must not keep every
 * place at this target.
 */
const maxWaiting = 10;

/** Opens a PostgreSQL server. Each call is in the file of its name. */
export function openTarget(options: TargetOptions): Target {
  const { clock, random } = options;
  const { ownedObjects } = options.connection;
  const connections = openConnections(options);
  const { run } = connections;
  return {
    async create(account) {
      assertBefore(account.deadline, clock);
      await run((call) =>
        call.onPrimary((session) =>
          createAccount(session, { account, roles: rolesOf(account.mappings), clock, random }),
        ),
      );
    },
    renew: (renewal) => run((call) => call.onPrimary((session) => renewAccount(session, renewal, clock))),
    disableAccess: inBatches({
      together: (names) => run((call) => call.onPrimary((session) => disableTogether(session, names))),
      alone: (name) => run((call) => call.onPrimary((session) => disableAccess(session, name))),
      maxWaiting,
    }),
    endSessions: inBatches({
      together: (names) => run((call) => endSessionsTogether(call, names)),
      alone: (name) => run((call) => endSessions(call, name)),
      maxWaiting,
    }),
    cleanUp: inBatches({
      together: (names) => run((call) => call.onPrimary((session) => cleanUpTogether(session, names))),
      alone: (name) => run((call) => cleanUp(call, { name, ownedObjects })),
    }),
    listAccounts: (prefix) =>
      run((call) => call.onPrimary((session) => listAccounts(session, prefix, clock))),
    async rotateAdminCredential({ password, deadline }) {
      const verifier = await computeVerifier(password, random.bytes(saltBytes));
      const next = { verifier, deadline, clock };
      await run((call) => call.onPrimary((session) => changeOwnPassword(session, next)));
      connections.changePassword(password);
    },
    checkHealth: () =>
      run((call) => call.onPrimary(async (session) => void (await session.query('select 1')))),
    findProblems: (mappings) => run((call) => findProblems(call, rolesOf(mappings))),
    holdSession: (account) => run(async (call) => toHeldSession(await call.logIn(account))),
    identify: () => run((call) => call.onPrimary(readSystemIdentifier)),
    close: () => connections.close(),
  };
}
