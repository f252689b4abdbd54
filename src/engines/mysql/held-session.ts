import type { HeldSession } from '../engine.ts';
import type { Connection } from './connect.ts';
import { toTargetFailure } from './failure.ts';

/** Wraps the connection of an account. */
export function toHeldSession({ client, quit }: Connection): HeldSession {
  return {
    async hasEnded() {
      try {
        await client.promise().query('select 1');
        return false;
      } catch (error) {
        const failure = toTargetFailure(error);
        if (failure.problem === 'unreachable') return true;
        throw failure;
      }
    },
    close: async () => quit(),
  };
}
