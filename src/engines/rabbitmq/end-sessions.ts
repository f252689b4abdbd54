import { setTimeout as pause } from 'node:timers/promises';
import { type Call, notRabbitmq } from './management-api.ts';
import { assertDisabled } from './users.ts';

/**
 * RabbitMQ lists a connection a moment after its login: first it checks the permission, then it answers the client, and then another
 * process writes it to the list. A session counts as absent only if it is not listed for this many rounds.
 */
const quietRounds = 4;
const pauseMs = 100;
/** Shown to the client, and written to the log of the server. */
const reason = 'the lease has ended';

/**
 * Ends every session of a disabled user on all nodes of the cluster, and waits until none is left. The timeout of the call limits
 * the waiting.
 *
 * @returns the number of sessions that there were
 */
export async function endSessions(call: Call, name: string): Promise<number> {
  await assertDisabled(call, name);
  const ended = new Set<string>();
  for (let quiet = 0; quiet < quietRounds; ) {
    const found = await closeSessions(call, name);
    for (const session of found) ended.add(session);
    quiet = found.length === 0 ? quiet + 1 : 0;
    if (quiet < quietRounds) await pause(pauseMs, undefined, { signal: call.signal });
  }
  return ended.size;
}

/**
 * Closes the sessions that are listed now, and returns their names. RabbitMQ asks the client first, and then ignores everything but
 * its consent. It does not wait for the consent if it is told to close the same connection again.
 */
export async function closeSessions(call: Call, name: string): Promise<string[]> {
  const path = ['connections', 'username', name];
  const { body } = await call.request(path);
  if (!Array.isArray(body)) throw notRabbitmq();
  if (body.length === 0) return [];
  await call.request(path, { method: 'DELETE', headers: { 'x-reason': reason } });
  return body.map((session) => JSON.stringify(session));
}
