import { isCleanText } from '../../platform/text.ts';

/** Somebody who acts, and who acted before (RFC 8693 section 4.1). Without `iss` it is an agent of ours. */
export type Actor = { iss?: string; sub: string; act?: Actor };

/** Who a subject is to its own issuer (RFC 9493 section 3.2.5). */
export interface SubjectId {
  format: 'iss_sub';
  iss: string;
  sub: string;
}

/** Whom a token is of, and who acts for them. */
export interface Delegation {
  /** An agent of ours, or a subject of a trusted issuer, whose name begins with that issuer's id. */
  sub: string;
  /** Undefined: the subject is an agent of ours. */
  sub_id?: SubjectId;
  act: Actor;
}

/** So many may act one after the other. */
const maxActors = 4;

/** `agentId` acting for whom a token is of, after whoever acted before; undefined: it would be one too many. */
export function actingFor(
  subject: Pick<Delegation, 'sub' | 'sub_id'> & { act?: Actor | undefined },
  agentId: string,
): Delegation | undefined {
  const { act: before, ...of } = subject;
  const act = before === undefined ? { sub: agentId } : { sub: agentId, act: before };
  return countActors(act) > maxActors ? undefined : { ...of, act };
}

function countActors(act: Actor | undefined): number {
  let count = 0;
  for (let actor = act; actor !== undefined; actor = actor.act) count += 1;
  return count;
}

const longestName = 512;

/** Whether a subject, or an issuer, of somebody else may be named by our tokens. */
export function isName(text: unknown): text is string {
  return typeof text === 'string' && text !== '' && text.length <= longestName && isCleanText(text);
}

/**
 * Those who acted before by what somebody else's token says, each under the name of an issuer that is not ours, so that none
 * is taken for an agent of ours. Undefined: that is no such thing, or too many.
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
