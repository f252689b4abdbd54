import { setTimeout as pause } from 'node:timers/promises';
import type { CloseSession, Session } from './close-session.ts';
import { notRabbitmq } from './failure.ts';
import type { Call } from './management-api.ts';

const pauseMs = 100;

export interface Ending {
  name: string;
  closeSession: CloseSession;
  /** In how many rounds in a row no session must be found. */
  quietRounds: number;
}

/**
 * Ends every session of a disabled account on all nodes of the cluster, and waits until none is left. The timeout of the call
 * limits the waiting.
 *
 * @returns the number of sessions that there were
 */
export async function endSessions(call: Call, { name, closeSession, quietRounds }: Ending): Promise<number> {
  const rounds = new Map<string, number>();
  for (let quiet = 0; quiet < quietRounds; ) {
    const found = await listSessions(call, name);
    quiet = found.length === 0 ? quiet + 1 : 0;
    const due = found.filter((session) => {
      const age = rounds.get(session.name) ?? 0;
      rounds.set(session.name, age + 1);
      return isDue(age);
    });
    await Promise.all(due.map((session) => closeSession(call, session)));
    if (quiet < quietRounds) await pause(pauseMs, undefined, { signal: call.signal });
  }
  return rounds.size;
}

/**
 * Whether a session is to be closed again that has been found in `age` rounds before: in the rounds 0, 1, 2, 4, 8 and so on. The
 * first time RabbitMQ asks for the client's consent, and ignores everything else from it. The second time it does not wait for
 * the consent.
 */
const isDue = (age: number): boolean => (age & (age - 1)) === 0;

async function listSessions(call: Call, user: string): Promise<Session[]> {
  const { body } = await call.request(['connections', 'username', user]);
  if (!Array.isArray(body)) throw notRabbitmq();
  return body.map((session) => {
    const { name } = (session ?? {}) as { name?: unknown };
    if (typeof name !== 'string') throw notRabbitmq();
    return { name, user };
  });
}
