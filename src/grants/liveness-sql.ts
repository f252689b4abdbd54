import { type RawBuilder, sql } from 'kysely';

/**
 * The rules of `liveness.ts` in SQL, over grants g with their agents a and resources r. Instants are
 * the named parameters `:now` and `:until`, which `bindInstants` and `nameInstants` replace by values or other SQL.
 */

/** When the first ancestor or subject token of g ended; null if none of them has ended. */
const derivationEndedAt = `case when g.ancestors <> '{}'
  then least(ancestors_ended_at(g.ancestors), subject_tokens_ended_at(g.subjects)) end`;

/** Builds `epochsEndedAt` from SQL that reads the ends of the two epochs, for statements without the joins. */
export function epochsEndedAtBy(epochEnds: { agent: string; resource: string }): string {
  return `least(${epochEnds.agent}, ${epochEnds.resource}, ${derivationEndedAt})`;
}

/** When the first of the things on which g depends ended; null if none has. */
export const epochsEndedAt = epochsEndedAtBy({
  agent: 'a.epoch_ends[g.agent_epoch::integer]',
  resource: 'r.epoch_ends[g.resource_epoch::integer]',
});

/** When an open g lapses or expires. */
export const ownEnd = `case g.status when 'pending' then g.lapses_at else g.expires_at end`;

/** The earliest expiry of the agents of g and its ancestors; null if none expires. */
export const agentExpiresAt = `least(a.expires_at, case when g.ancestors <> '{}' then ancestors_expire_at(g.ancestors) end)`;

/** A number that rises when an ancestor of g or its agent changes or ends; 0 if g has no ancestors. */
export const ancestorsVersion = `case when g.ancestors <> '{}'
  then ancestors_version(g.ancestors) + (${derivationEndedAt} is not null)::integer else 0 end`;

/** Whether the stored state of g is not final. */
export const isOpen = `g.status in ('pending', 'scheduled', 'active')`;

/** `effectiveStatus` at `:now`. */
export const effectiveStatus = `case
  when not ${isOpen} then g.status
  when ${epochsEndedAt} < ${ownEnd} then case g.status when 'pending' then 'denied' else 'revoked' end
  when ${epochsEndedAt} is not null or ${ownEnd} <= :now or ${agentExpiresAt} <= :now
    then case g.status when 'pending' then 'lapsed' else 'expired' end
  when g.status = 'pending' then 'pending'
  when g.status = 'scheduled' and g.starts_at > :now then 'scheduled'
  else 'active' end`;

/** Whether g was ended by a person's decision about it. Other grants have the id of the ending that ended them. */
export const isEndedByPerson = `(g.ending_id is null and coalesce(starts_with(g.ended_by, 'adm_'), false))`;

/** Whether g was revoked by a person's decision about it. */
export const isRevokedByPerson = `(g.status = 'revoked' and ${isEndedByPerson})`;

/** Whether g and another grant o were delegated for the same subject tokens. The first condition is for the index. */
export const haveSameSubjects = `o.subjects <> '{}' and o.subjects @> g.subjects and o.subjects <@ g.subjects`;

/** Whether g has begun, and nothing on which it depends has ended. */
const isStanding = `(g.status = 'active' or (g.status = 'scheduled' and g.starts_at <= :now)) and ${epochsEndedAt} is null`;

/** `isActive` at `:now`. Cheap conditions come first: most grants have no ancestors. */
export const isActive = `(g.expires_at > :now and ${isStanding}
  and (a.expires_at is null or a.expires_at > :now)
  and (g.ancestors = '{}' or coalesce(ancestors_expire_at(g.ancestors) > :now, true)))`;

/** `isUsableUntil`: active at `:now`, and not ending before `:until`. */
export const isUsableUntil = `(g.expires_at >= :until and ${isStanding}
  and (a.expires_at is null or a.expires_at >= :until)
  and (g.ancestors = '{}' or coalesce(ancestors_expire_at(g.ancestors) >= :until, true)))`;

/**
 * Whether token t is bound to a key (RFC 9449), or its agent a or resource r allows unbound
 * tokens. A token that was unbound when bound tokens became required has ended permanently.
 */
export const isBoundAsRequired = (owner: 'a' | 'r'): string =>
  `(t.jkt is not null or not (${owner}.require_bound_tokens or coalesce(t.iat <= ${owner}.unbound_tokens_ended_at, false)))`;

/**
 * Whether the subject tokens (RFC 8693) and the subject token issuer of t, or of a row b with the same columns, are
 * active.
 */
export const areSubjectsActive = (t: 't' | 'b'): string =>
  `((${t}.subjects is null or subject_tokens_ended_at(${t}.subjects) is null) and (${t}.subject_issuer_id is null
    or subject_issuer_ended_at(${t}.subject_issuer_id, ${t}.subject_issuer_epoch) is null))`;

/**
 * Whether token t has not ended before its expiry, over its agent a, credential s
 * and signing key k: the rule of the function `subject_tokens_ended_at` for the
 * token and its subject tokens. Its resource may also require it to be bound.
 */
export const isTokenActive = `t.revoked_at is null and s.revoked_at is null and k.state <> 'compromised'
  and ${isBoundAsRequired('a')} and ${areSubjectsActive('t')}`;

/** Rewrites a rule about g as a rule about o, another grant of the same agent and resource. */
export function ofOther(rule: string): string {
  return rule.replaceAll(/\bg\./g, 'o.');
}

type Instant = 'now' | 'until';
const placeholder = /(?<!:):(now|until)\b/g;

/** Replaces the instants of a rule by SQL, for statements that are kept as text. */
export function nameInstants(rule: string, instants: Partial<Record<Instant, string>>): string {
  return rule.replace(placeholder, (_, name: Instant) => `${required(instants, name)}`);
}

/** Converts a rule to a part of a kysely statement, with its instants as parameters. */
export function bindInstants<T>(
  rule: string,
  instants: Partial<Record<Instant, Date | RawBuilder<unknown>>> = {},
): RawBuilder<T> {
  // Every second part is the name of an instant.
  const parts = rule.split(placeholder).map((part, n) => {
    const value = n % 2 === 0 ? sql.raw(part) : required(instants, part as Instant);
    return value instanceof Date ? sql`${value}` : value;
  });
  return sql`${sql.join(parts, sql``)}`;
}

function required<V>(instants: Partial<Record<Instant, V>>, name: Instant): V {
  const value = instants[name];
  if (value === undefined) throw new Error(`no value was given for the instant :${name}`);
  return value;
}
