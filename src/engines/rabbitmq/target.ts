import { assertBefore } from '../deadline.ts';
import type { Target, TargetOptions } from '../engine.ts';
import { changeAdminPassword, readClusterId } from './admin.ts';
import { cleanUp } from './clean-up.ts';
import { createCloseSession } from './close-session.ts';
import { createAccount } from './create.ts';
import { disableAccess } from './disable.ts';
import { endSessions } from './end-sessions.ts';
import { findProblems } from './find-problems.ts';
import { holdSession } from './held-session.ts';
import { openManagementApi } from './management-api.ts';
import { hashPassword, saltBytes } from './password-hash.ts';
import { permissionsOf } from './permissions.ts';
import { assertDisabled, listUsers } from './users.ts';

/**
 * RabbitMQ lists a session a moment after its login: it checks the permission, answers the client, and then another process
 * writes the list. On a busy machine that took up to 75 ms; a session counts as absent if it is not listed for 300 ms.
 */
const quietRounds = 4;

/** Opens a RabbitMQ cluster. Each call is in the file of its name. */
export function openTarget(options: TargetOptions): Target {
  const { connection, clock, random } = options;
  const api = openManagementApi(options);
  const { run } = api;
  const closeSession = createCloseSession(options);
  return {
    create: (account) =>
      run(async (call) => {
        const permissions = permissionsOf(account.mappings);
        await createAccount(call, { account, permissions, clock, random });
      }),
    // RabbitMQ ends no account by itself. The call still fails if the target cannot be reached.
    renew: () => run(async (call) => void (await call.request(['whoami']))),
    disableAccess: (name) => run((call) => disableAccess(call, name)),
    endSessions: (name) =>
      run(async (call) => {
        await assertDisabled(call, name);
        return endSessions(call, { name, closeSession, quietRounds });
      }),
    cleanUp: (name) => run((call) => cleanUp(call, { name, closeSession })),
    listAccounts: (prefix) =>
      run(async (call) =>
        (await listUsers(call, prefix)).map(({ name, canLogIn }) => ({ name, canLogIn, expiresAt: null })),
      ),
    async rotateAdminCredential({ password, deadline }) {
      const user = { name: connection.username, password: hashPassword(password, random.bytes(saltBytes)) };
      await run((call) => changeAdminPassword(call, user, () => assertBefore(deadline, clock)));
      api.changePassword(password);
    },
    checkHealth: () => run(async (call) => void (await call.request(['whoami']))),
    findProblems: (mappings) => run(async (call) => findProblems(call, connection, permissionsOf(mappings))),
    holdSession: (account) => holdSession(options, account),
    identify: () => run(readClusterId),
    close: () => api.close(),
  };
}
