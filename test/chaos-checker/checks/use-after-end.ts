import type { Facts } from '../facts.ts';
import { isOk, type Operation, type Violation } from '../history.ts';
import { type Death, type Deaths, deathsOf, disablingsStillInForce } from './deaths.ts';
import { hasEnded } from './grant-states.ts';

const check = 'use-after-end';

/** Returns the token that the operation used successfully; undefined if it used none. */
function usedToken({ kind, outcome, status, asked, answered }: Operation): string | undefined {
  // A successful exchange has used its subject token.
  if (kind === 'exchange') return outcome === 'ok' ? asked.subjectJti : undefined;
  if (kind === 'introspect') return answered.active === true ? asked.jti : undefined;
  if (asked.by === undefined || !('brokerJti' in asked.by)) return undefined;
  // A response about the state of an object is sent only after authentication.
  const isAuthenticated = outcome === 'ok' || (status !== undefined && [403, 404, 409, 412].includes(status));
  return isAuthenticated ? asked.by.brokerJti : undefined;
}

/** The use of a token or grant, with the time from which it had ended. */
interface Use {
  name: string;
  agentId: string;
  death: Death | undefined;
  expiresAtMs: number | undefined;
}

function usesIn(facts: Facts, deaths: Deaths, operation: Operation): Use[] {
  const uses: Use[] = [];
  const jti = usedToken(operation);
  const used = jti === undefined ? undefined : facts.tokens.get(jti)?.token;
  if (used !== undefined) {
    const { agentId, expiresAtMs } = used;
    uses.push({ name: `token ${jti}`, agentId, death: deaths.tokens.get(used.jti), expiresAtMs });
  }
  const grantId =
    operation.answered.token?.grantId ?? (operation.answered.active === true ? used?.grantId : null);
  const grant = facts.grants.get(grantId ?? '');
  if (grant !== undefined) {
    const { id, agentId, expiresAtMs } = grant;
    uses.push({ name: `grant ${id}`, agentId, death: deaths.grants.get(id), expiresAtMs });
  }
  return uses;
}

function judge(operation: Operation, { name, agentId, death, expiresAtMs }: Use): Violation[] {
  if (death !== undefined && death.atMs < operation.begunMs) {
    const what = `${name} was used after ${death.by.kind} had ended it`;
    return [{ check, agentId, what, operations: [death.by, operation] }];
  }
  if (expiresAtMs === undefined || expiresAtMs > operation.begunAtMs) return [];
  const what = `${name} was used ${operation.begunAtMs - expiresAtMs} ms after it had expired`;
  return [{ check, agentId, what, operations: [operation] }];
}

/**
 * Finds an agent that authenticated with a secret or key although the agent was disabled or the credential withdrawn.
 */
function usesOfCredential(facts: Facts, operation: Operation): Violation[] {
  const { by, agentId } = operation.asked;
  if (!isOk(operation) || agentId === undefined || by === undefined || !('credential' in by)) return [];
  const reasons = [
    ...disablingsStillInForce(facts, agentId, operation).map((end) => ({ end, why: 'it was disabled' })),
    ...[facts.withdrawals.get(by.credential)].flatMap((end) =>
      end === undefined ? [] : [{ end, why: `${by.credential} was withdrawn` }],
    ),
  ];
  return reasons
    .filter(({ end }) => end.endedMs < operation.begunMs)
    .slice(0, 1)
    .map(({ end, why }) => ({
      check,
      agentId,
      what: `the agent was served although ${why}`,
      operations: [end, operation],
    }));
}

/** Finds a grant that was shown in a state that is not terminal although it had ended. */
function shownAsOpen(facts: Facts, deaths: Deaths): Violation[] {
  return [...facts.grants.values()].flatMap(({ id, agentId, sightings }) => {
    const death = deaths.grants.get(id);
    const wrong = sightings.find(
      ({ operation, grant }) =>
        death !== undefined && death.atMs < operation.begunMs && !hasEnded(grant.status),
    );
    if (death === undefined || wrong === undefined) return [];
    const what = `grant ${id} was shown as ${wrong.grant.status} after ${death.by.kind} had ended it`;
    return [{ check, agentId, what, operations: [death.by, wrong.operation] }];
  });
}

/**
 * Finds tokens and grants that were accepted in a request after they had ended (revoked, returned, delegated for a
 * withdrawn credential, disabled with their agent, or expired), and grants that were shown as open then.
 */
export function useAfterEnd(facts: Facts): Violation[] {
  const deaths = deathsOf(facts);
  const uses = facts.operations.flatMap((operation) => [
    ...usesIn(facts, deaths, operation).flatMap((use) => judge(operation, use)),
    ...usesOfCredential(facts, operation),
  ]);
  return [...uses, ...shownAsOpen(facts, deaths)];
}
