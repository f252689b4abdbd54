import type pg from 'pg';
import type { HeldSession } from '../engine.ts';
import { toTargetFailure } from './failure.ts';

/** Wraps the connection of an account. */
export function toHeldSession(client: pg.Client): HeldSession {
  return {
    async hasEnded() {
      try {
        await client.query('select 1');
        return false;
      } catch (error) {
        const failure = toTargetFailure(error);
        if (failure.problem === 'unreachable') return true;
        throw failure;
      }
    },
    close: async () => void client.end().catch(() => {}),
  };
}
