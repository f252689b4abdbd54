import { sha256 } from '../crypto/hash.ts';
import { createBoundedCache } from '../platform/bounded-cache.ts';
import { type Circumstances, currentFacts } from '../policies/decision-facts.ts';
import type { PolicyEngine } from '../policies/engine.ts';
import type { TokenSource } from './token-source.ts';

/** Decides whether policy still permits the use of a grant, so that a stricter policy applies at once. */
export interface UseDecisions {
  /** Decides under the current policies of the engine. Calls Cedar once for each distinct set of facts. */
  permits(source: TokenSource, use: Circumstances): boolean;
}

const hourMs = 3_600_000;
const longestKeyScope = 64;

/** The facts, besides the source, that a decision depends on. */
interface Use {
  epoch: bigint | undefined;
  hour: number;
  address: string;
  authMethod: string;
  delegated: boolean | undefined;
}

export function createUseDecisions(engine: PolicyEngine): UseDecisions {
  const decided = createBoundedCache<boolean>({ maxEntries: 20_000 });
  /** The last decision about each source in use: an agent's address and method seldom change. */
  const last = new WeakMap<TokenSource, Use & { permitted: boolean }>();

  function decide(source: TokenSource, use: Parameters<UseDecisions['permits']>[1]): boolean {
    const { grant, resource, scopes } = source;
    const { approvals, durationSeconds } = grant;
    const { catalogue } = resource;
    const current = { scopes, durationSeconds, catalogue, approvals, circumstances: use };
    return engine.decide(currentFacts(grant.facts, current)).decision === 'permit';
  }

  return {
    permits(source, use) {
      const { epoch } = engine;
      // Without policies in force there is no epoch to cache the decision under.
      if (epoch === undefined) return decide(source, use);
      const { address, authMethod, delegated } = use;
      const hour = Math.floor(use.now.getTime() / hourMs);
      const before = last.get(source);
      const now = { epoch, hour, address, authMethod, delegated };
      if (before !== undefined && isSameUse(before, now)) return before.permitted;
      const key = keyOfUse(source, now);
      const permitted = decided.get(key) ?? decide(source, use);
      decided.set(key, permitted);
      last.set(source, { ...now, permitted });
      return permitted;
    },
  };
}

function isSameUse(a: Use, b: Use): boolean {
  const isSameTime = a.epoch === b.epoch && a.hour === b.hour;
  const isSameClient = a.authMethod === b.authMethod && a.delegated === b.delegated;
  return isSameTime && isSameClient && a.address === b.address;
}

/** Makes the cache key. Only the scope may hold spaces, so it is last; clients choose it, so a long one is hashed. */
function keyOfUse({ grant, resource, scope }: TokenSource, use: Use): string {
  const scopeKey = scope.length > longestKeyScope ? sha256(scope).toString('base64url') : scope;
  const versions = [grant.id, grant.version, resource.version, use.epoch];
  const client = [use.address, use.authMethod, use.delegated === true];
  return `${[...versions, use.hour, ...client].join(' ')} ${scopeKey}`;
}
