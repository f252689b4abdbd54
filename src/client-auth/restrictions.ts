import type { Claims } from './signed-jwt.ts';

/** The use of another party's token, against which its restricting claims are checked. */
export interface TokenUse {
  /** The issuer of this server, which is also that of an actor without `iss`. */
  issuer: string;
  /** The agent that uses the token. */
  actorId: string;
  /** The thumbprint of the key of which the request proves possession; undefined without a proof. */
  jkt: string | undefined;
}

export type RestrictionFailure =
  /** `cnf` has a confirmation method other than `jkt`, or several. */
  | 'unknown-confirmation'
  /** The request does not prove possession of the key in `cnf`. */
  | 'unproved-key'
  /** `may_act` does not name the agent that uses the token. */
  | 'other-actor';

/**
 * Checks the claims that restrict who may use a token: `cnf` (RFC 7800, RFC 9449 section 6.1) and `may_act` (RFC 8693 section
 * 4.4). Every use of another party's token is checked here. Returns undefined if the use is allowed.
 */
export function restrictionFailure(claims: Claims, use: TokenUse): RestrictionFailure | undefined {
  if (claims.cnf !== undefined) {
    const jkt = keyToProve(claims);
    if (jkt === undefined) return 'unknown-confirmation';
    if (jkt !== use.jkt) return 'unproved-key';
  }
  return claims.may_act === undefined || isNamed(claims.may_act, use) ? undefined : 'other-actor';
}

/**
 * Whether the token restricts its actor (`may_act`). A token that authenticates its own subject
 * and is exchanged must not (RFC 8693 section 4.4): the named agent would not have authenticated.
 */
export function namesActor({ may_act }: Claims): boolean {
  return may_act !== undefined;
}

/** Returns the thumbprint of the key that binds the token; undefined if it is unbound, or bound in an unknown way. */
export function keyToProve({ cnf }: Claims): string | undefined {
  if (typeof cnf !== 'object' || cnf === null) return undefined;
  const [method, ...more] = Object.entries(cnf);
  if (method === undefined || more.length > 0 || method[0] !== 'jkt') return undefined;
  const jkt: unknown = method[1];
  return typeof jkt === 'string' && jkt !== '' ? jkt : undefined;
}

/** Whether `may_act` names the agent. An actor without `iss` is an agent of this server. */
function isNamed(mayAct: unknown, { issuer, actorId }: TokenUse): boolean {
  if (typeof mayAct !== 'object' || mayAct === null) return false;
  const { iss = issuer, sub } = mayAct as { iss?: unknown; sub?: unknown };
  return iss === issuer && sub === actorId;
}
