import { createKeyedQueue } from '../../platform/keyed-queue.ts';
import { TargetFailure } from '../target-failure.ts';
import type { Call } from './management-api.ts';

/** A connection as RabbitMQ lists it. */
export interface Session {
  /** Its addresses, such as `10.0.0.1:34718 -> 10.0.0.2:5672`. */
  name: string;
  /** The user who logged in. */
  user: string;
}

/** Closes one session. May return before the session has ended. */
export type CloseSession = (call: Call, session: Session) => Promise<void>;

/** Shown to the client, and written to the log of the server. */
const reason = 'the lease has ended';
/**
 * How long the answer is awaited. RabbitMQ closes the connection also if nobody waits, but it answers late if the client reads
 * nothing any more: 3 s for each channel, which an agent could use to delay the end of other leases.
 */
const patienceMs = 250;
/** 404: it has ended. 500: it ended while RabbitMQ was closing it. */
const ended = [404, 500];

/**
 * Creates a function that closes sessions. One account cannot take all connections to the server, and one connection is always
 * left for other calls.
 */
export function createCloseSession({ maxConnections }: { maxConnections: number }): CloseSession {
  const queue = createKeyedQueue({
    atOnce: Math.max(1, maxConnections - 1),
    atOnceOfOne: 2,
    maxWaiting: Number.POSITIVE_INFINITY,
    full: new TargetFailure('refused', 'too many sessions are being closed'),
  });
  return (call, { name, user }) =>
    queue.run(user, async () => {
      const patience = new AbortController();
      let timer: NodeJS.Timeout | undefined;
      try {
        await call.request(['connections', name], {
          method: 'DELETE',
          // Without statistics the server looks in the list of sessions, which is complete earlier.
          query: { disable_stats: 'true' },
          headers: { 'x-reason': reason },
          accept: ended,
          signal: patience.signal,
          beforeSending: () => {
            timer = setTimeout(() => patience.abort(), patienceMs);
          },
        });
      } catch (error) {
        if (!patience.signal.aborted || call.signal.aborted) throw error;
      } finally {
        clearTimeout(timer);
      }
    });
}
