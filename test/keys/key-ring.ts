import type { RotationAction, RotationPlan } from '../../src/keys/rotation-plan.ts';
import { canMove, type KeyState, type SigningKey } from '../../src/keys/signing-key.ts';

const targets = {
  activate: 'active',
  'start-retiring': 'retiring',
  retire: 'retired',
  compromise: 'compromised',
} as const satisfies Record<string, KeyState>;

/** A table of signing keys in memory, which applies plans under the same rules as the database. */
export class KeyRing {
  keys: SigningKey[] = [];

  apply(plan: RotationPlan, now: Date): void {
    for (const action of plan.actions) this.#step(action, now);
  }

  kidOf(alg: string, state: KeyState): string | undefined {
    return this.keys.find((key) => key.alg === alg && key.state === state)?.kid;
  }

  #step(action: RotationAction, now: Date): void {
    if (action.kind === 'create') {
      const { alg, state } = action;
      const activatedAt = state === 'active' ? now : null;
      const kid = `key_${this.keys.length}`;
      this.keys = [...this.keys, { kid, alg, state, createdAt: now, activatedAt, retiringAt: null }];
    } else {
      this.keys = this.keys.map((key) =>
        key.kid === action.kid ? this.#move(key, targets[action.kind], now) : key,
      );
    }
    for (const state of ['active', 'prepared']) {
      const places = this.keys.filter((key) => key.state === state).map((key) => key.alg);
      if (new Set(places).size < places.length) throw new Error(`two ${state} keys after ${action.kind}`);
    }
  }

  #move(key: SigningKey, state: KeyState, now: Date): SigningKey {
    if (!canMove(key.state, state)) throw new Error(`${key.kid} cannot go from ${key.state} to ${state}`);
    const moved = { ...key, state };
    if (state === 'active') return { ...moved, activatedAt: now };
    return state === 'retiring' ? { ...moved, retiringAt: now } : moved;
  }
}
