import { BrokerError } from '../errors.ts';
import type { PolicyEngine } from './engine.ts';

/**
 * The same engine, except that a `load` that fails throws `unavailable` and everything is denied (`error`) from then
 * on, until a `load` of that epoch or a later one succeeds. Policies that cannot be read may forbid what those before
 * them permit, so deciding by the ones before would open what somebody has closed. Meanwhile `epoch` is undefined:
 * nothing is in force.
 */
export function failClosed(engine: PolicyEngine): PolicyEngine {
  let failed: bigint | undefined;
  return {
    get epoch() {
      return failed === undefined ? engine.epoch : undefined;
    },
    get literals() {
      return failed === undefined ? engine.literals : new Set<string>();
    },
    load(policies, epoch) {
      const wanted = BigInt(epoch);
      if (failed !== undefined && wanted < failed) return false;
      try {
        const loaded = engine.load(policies, wanted);
        if (loaded) failed = undefined;
        return loaded;
      } catch (error) {
        failed = wanted;
        throw new BrokerError('unavailable', {
          internal: `the policies of epoch ${wanted} cannot be loaded, so everything is denied`,
          cause: error,
        });
      }
    },
    reset() {
      engine.reset();
      failed = undefined;
    },
    decide(request) {
      if (failed === undefined) return engine.decide(request);
      return {
        decision: 'error',
        policies: [],
        errors: [`the policies of epoch ${failed} could not be loaded`],
      };
    },
  };
}
