import { unlessAborted } from '../bounded-call.ts';
import type { HeldSession } from '../engine.ts';
import { TargetFailure } from '../target-failure.ts';
import type { Connection } from './connect.ts';
import { isReplyError, toTargetFailure } from './failure.ts';

/** Wraps the connection of an account. */
export function toHeldSession(
  { redis, reset }: Connection,
  { name, password, timeoutMs }: { name: string; password: string; timeoutMs: number },
): HeldSession {
  return {
    async hasEnded() {
      const signal = AbortSignal.timeout(timeoutMs);
      try {
        await unlessAborted(signal, redis.call('PING'), () => {});
        return false;
      } catch (error) {
        if (signal.aborted) throw new TargetFailure('timed-out', `no answer within ${timeoutMs} ms`);
        // The account may lack the privilege, but the server knows the session.
        if (isReplyError(error)) return false;
        const failure = toTargetFailure(error, { username: name, secret: password });
        if (failure.problem === 'unreachable') return true;
        throw failure;
      }
    },
    close: async () => reset(),
  };
}
