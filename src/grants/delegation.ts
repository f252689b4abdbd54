import { isCleanText } from '../platform/text.ts';

/** An actor and, nested in `act`, the prior actors (RFC 8693 section 4.1). Without `iss`: an agent of this broker. */
export type Actor = { iss?: string; sub: string; act?: Actor };

/** The identifier of a subject at its own issuer (RFC 9493 section 3.2.5). */
export interface SubjectId {
  format: 'iss_sub';
  iss: string;
  sub: string;
}

/** The subject of a token and the actors that act for it. */
export interface Delegation {
  /** The id of an agent, or the name of a subject of a trusted issuer, prefixed with that issuer's id. */
  sub: string;
  /** Undefined if the subject is an agent of this broker. */
  sub_id?: SubjectId;
  act: Actor;
}

/** The maximum number of actors in one token. */
const maxActors = 4;

/** Makes `agentId` the current actor of a token (RFC 8693 section 4.1); undefined if there are too many then. */
export function actingFor(
  subject: Pick<Delegation, 'sub' | 'sub_id'> & { act?: Actor | undefined },
  agentId: string,
): Delegation | undefined {
  const { act: before, ...identity } = subject;
  const act = before === undefined ? { sub: agentId } : { sub: agentId, act: before };
  return countActors(act) > maxActors ? undefined : { ...identity, act };
}

function countActors(act: Actor | undefined): number {
  let count = 0;
  for (let actor = act; actor !== undefined; actor = actor.act) count += 1;
  return count;
}

const longestName = 512;

/** Whether tokens of this broker may carry this name, a subject or an issuer from another issuer's token. */
export function isName(text: unknown): text is string {
  return typeof text === 'string' && text !== '' && text.length <= longestName && isCleanText(text);
}

/**
 * Reads the `act` claim of another issuer's token. Each actor gets an issuer that is not this broker, so that none
 * can be mistaken for an agent. Returns undefined if the claim is absent or malformed, or names too many actors.
 */
export function outsideActors(
  act: unknown,
  { issuer, ownIssuer }: { issuer: string; ownIssuer: string },
): Actor | undefined {
  const names: { iss: string; sub: string }[] = [];
  for (let actor = act; actor !== undefined; ) {
    if (typeof actor !== 'object' || actor === null || names.length === maxActors) return undefined;
    const { iss = issuer, sub, act: before } = actor as Record<string, unknown>;
    if (!isName(iss) || !isName(sub) || iss === ownIssuer) return undefined;
    names.push({ iss, sub });
    actor = before;
  }
  return names.reduceRight<Actor | undefined>(
    (before, name) => (before === undefined ? name : { ...name, act: before }),
    undefined,
  );
}
