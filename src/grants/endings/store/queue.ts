import { type RawBuilder, sql } from 'kysely';
import type { ActorKind } from '../../../audit/audit-event.ts';
import type { Db, Tx } from '../../../db/database.ts';
import { latestAttemptAt } from '../../../platform/retry.ts';
import { isOpen } from '../../liveness-sql.ts';
import { type NewEnding, type Selection, subjectOf } from '../ending.ts';

export type SelectionKind = Selection['kind'];

/** An ending with grants that are not settled yet. */
export interface QueuedEnding extends Omit<NewEnding, 'selection' | 'objectId'> {
  id: string;
  kind: SelectionKind;
  subjectId: string;
  objectId: string | null;
  /** The id of the last settled grant; grants are settled in the order of their ids. */
  afterId: string;
  /** How many attempts in a row have failed. */
  attempts: number;
}

const anyDelegated = () => sql`g.ancestors <> '{}'`;

/** SQL conditions for the grants that an ending may have to settle. Most endings have none, and are not queued. */
const conditions: Record<SelectionKind, (subjectId: string) => RawBuilder<unknown>> = {
  grant: (id) => sql`g.ancestors <> '{}' and g.ancestors @> array[${id}::text]`,
  agent: (id) => sql`g.agent_id = ${id}`,
  resource: (id) => sql`g.resource_id = ${id}`,
  catalogue: (id) => sql`g.resource_id = ${id}`,
  subject_token: (jti) => sql`g.subjects <> '{}' and g.subjects @> array[${jti}::text]`,
  tokens_of_agent: anyDelegated,
  tokens_for_resource: anyDelegated,
  tokens_signed_by: anyDelegated,
  tokens_by_issuer: anyDelegated,
  derived: anyDelegated,
};

/** Whether there is an open grant that the selection may have to settle. */
export async function selectsOpenGrants(tx: Tx, selection: Selection): Promise<boolean> {
  const { rows } = await sql<{ some: boolean }>`
    select exists (select from grants g where ${conditions[selection.kind](subjectOf(selection))}
      and ${sql.raw(isOpen)}) as some`.execute(tx);
  return rows[0]?.some === true;
}

export async function queueEnding(tx: Tx, ending: NewEnding & { id: string }): Promise<void> {
  const { selection, actor, origin } = ending;
  await tx
    .insertInto('grant_endings')
    .values({
      id: ending.id,
      kind: selection.kind,
      subject_id: subjectOf(selection),
      object_id: ending.objectId ?? null,
      reason: ending.reason,
      at: ending.at,
      actor_kind: actor.kind,
      actor_id: actor.id,
      actor_key_id: actor.keyId ?? null,
      request_id: origin?.requestId ?? null,
      source_ip: origin?.address ?? null,
      next_attempt_at: ending.at,
    })
    .execute();
}

/** The order of queued endings: a caller settles its own first, a job the one that has waited longest. */
export type QueueOrder = 'newest' | 'oldest';

/** Locks the first queued ending that is due and not locked by another transaction, until `tx` ends. */
export async function lockEnding(
  tx: Tx,
  { now, first }: { now: Date; first: QueueOrder },
): Promise<QueuedEnding | undefined> {
  const row = await tx
    .selectFrom('grant_endings')
    .select(['id', 'kind', 'subject_id', 'object_id', 'reason', 'at', 'actor_kind', 'actor_id'])
    .select(['actor_key_id', 'request_id', 'source_ip', 'after_id'])
    .select('attempts')
    .where((eb) =>
      eb.or([eb('next_attempt_at', '<=', now), eb('next_attempt_at', '>', latestAttemptAt(now))]),
    )
    .orderBy('id', first === 'oldest' ? 'asc' : 'desc')
    .limit(1)
    .forUpdate()
    .skipLocked()
    .executeTakeFirst();
  if (row === undefined) return undefined;
  const { request_id: requestId, source_ip: address } = row;
  return {
    id: row.id,
    kind: row.kind as SelectionKind,
    subjectId: row.subject_id,
    objectId: row.object_id,
    reason: row.reason,
    at: row.at,
    actor: { kind: row.actor_kind as ActorKind, id: row.actor_id, keyId: row.actor_key_id },
    origin: requestId === null || address === null ? undefined : { requestId, address },
    afterId: row.after_id,
    attempts: row.attempts,
  };
}

export async function advanceEnding(tx: Tx, { id, afterId }: { id: string; afterId: string }): Promise<void> {
  const succeeded = { attempts: 0, last_error: null };
  await tx
    .updateTable('grant_endings')
    .set({ after_id: afterId, ...succeeded })
    .where('id', '=', id)
    .execute();
}

/** Delays an ending until `nextAttemptAt`, so that other endings are settled first. */
export async function delayEnding(
  tx: Tx,
  { id, nextAttemptAt }: { id: string; nextAttemptAt: Date },
): Promise<void> {
  await tx
    .updateTable('grant_endings')
    .set({ next_attempt_at: nextAttemptAt })
    .where('id', '=', id)
    .execute();
}

/** Records a failed attempt and the time of the next one; until then other endings are settled. */
export async function postponeEnding(
  db: Db,
  failure: { id: string; attempts: number; nextAttemptAt: Date; error: string },
): Promise<void> {
  await db
    .updateTable('grant_endings')
    .set({
      attempts: failure.attempts,
      next_attempt_at: failure.nextAttemptAt,
      last_error: failure.error,
    })
    .where('id', '=', failure.id)
    .execute();
}

export async function deleteEnding(tx: Tx, id: string): Promise<void> {
  await tx.deleteFrom('grant_endings').where('id', '=', id).execute();
}

/** Reads when the next queued ending is due; null if none is queued. */
export async function readNextAttempt(db: Db): Promise<Date | null> {
  const row = await db
    .selectFrom('grant_endings')
    .select((eb) => eb.fn.min('next_attempt_at').as('at'))
    .executeTakeFirst();
  return row?.at ?? null;
}

/** Reads when the oldest queued ending took effect; null if none is queued. */
export async function readOldestEnding(db: Db): Promise<Date | null> {
  const row = await db
    .selectFrom('grant_endings')
    .select((eb) => eb.fn.min('at').as('at'))
    .executeTakeFirst();
  return row?.at ?? null;
}
