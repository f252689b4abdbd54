import { BrokerError } from '../errors.ts';
import type { PolicyEngine } from './engine.ts';

/**
 * Wraps an engine so that after a failed `load`, which throws `unavailable`, it denies every request with `error`
 * until a `load` of the same or a later epoch succeeds. The previous policies must not decide meanwhile: the policies
 * that cannot be loaded may forbid what the previous ones permit. `epoch` is then undefined, because no policies are
 * in force.
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
