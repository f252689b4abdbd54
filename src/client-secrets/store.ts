import { sql } from 'kysely';
import type { Db, Tx } from '../db/database.ts';
import type { Client, ClientKind, ClientSecret } from './client-secret.ts';

/** Beside an agent's secrets stand its other proofs, keys or an identity, which have no hash. */
const tables = { agent: 'agent_secrets', resource: 'resource_secrets' } as const satisfies Record<
  ClientKind,
  string
>;

export interface NewClientSecret {
  id: string;
  secretHash: Buffer;
  issuedBy: string;
  createdAt: Date;
  expiresAt: Date | null;
}

export async function insertSecret(tx: Tx, client: Client, secret: NewClientSecret): Promise<void> {
  await tx
    .insertInto(tables[client.kind])
    .values({
      id: secret.id,
      client_id: client.id,
      secret_hash: secret.secretHash,
      issued_by: secret.issuedBy,
      created_at: secret.createdAt,
      expires_at: secret.expiresAt,
    })
    .execute();
}

/** Every secret the client ever had, oldest first. */
export async function listSecrets(db: Db, client: Client): Promise<ClientSecret[]> {
  const rows = await db
    .selectFrom(tables[client.kind])
    .select(['id', 'issued_by', 'created_at', 'expires_at', 'revoked_at'])
    .where('client_id', '=', client.id)
    .where('secret_hash', 'is not', null)
    .orderBy('id')
    .execute();
  return rows.map((row) => ({
    id: row.id,
    issuedBy: row.issued_by,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
  }));
}

/** How many of the client's secrets are alive at `now`. */
export async function countLiveSecrets(tx: Tx, client: Client, now: Date): Promise<number> {
  const row = await tx
    .selectFrom(tables[client.kind])
    .select((eb) => eb.fn.countAll<number>().as('n'))
    .where('client_id', '=', client.id)
    .where('secret_hash', 'is not', null)
    .where('revoked_at', 'is', null)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
    .executeTakeFirstOrThrow();
  return row.n;
}

/** Revokes a secret; answers whether the client has it and whether this call ended it. */
export async function revokeSecret(
  tx: Tx,
  client: Client,
  secret: { id: string; at: Date },
): Promise<'revoked' | 'already' | 'unknown'> {
  const changed = await tx
    .updateTable(tables[client.kind])
    .set({ revoked_at: secret.at })
    .where('id', '=', secret.id)
    .where('client_id', '=', client.id)
    .where('secret_hash', 'is not', null)
    .where('revoked_at', 'is', null)
    .executeTakeFirst();
  if (changed.numUpdatedRows > 0n) return 'revoked';
  const row = await tx
    .selectFrom(tables[client.kind])
    .select('id')
    .where('id', '=', secret.id)
    .where('client_id', '=', client.id)
    .where('secret_hash', 'is not', null)
    .executeTakeFirst();
  return row === undefined ? 'unknown' : 'already';
}

/** Revokes every secret of a client, or what else an agent proves itself by; answers the ids of those that were not revoked before. */
export async function revokeAllSecrets(tx: Tx, client: Client, at: Date): Promise<string[]> {
  const rows = await tx
    .updateTable(tables[client.kind])
    .set({ revoked_at: at })
    .where('client_id', '=', client.id)
    .where('revoked_at', 'is', null)
    .returning('id')
    .execute();
  return rows.map((row) => row.id).sort();
}

/** Revokes every secret of every client, and every other proof; answers how many were not revoked before. */
export async function revokeEverySecret(tx: Tx, at: Date): Promise<number> {
  let revoked = 0;
  for (const table of Object.values(tables)) {
    const result = await tx
      .updateTable(table)
      .set({ revoked_at: at })
      .where('revoked_at', 'is', null)
      .executeTakeFirst();
    revoked += Number(result.numUpdatedRows);
  }
  return revoked;
}

/** What a presented secret is compared with. */
export interface LiveDigest {
  id: string;
  /** SHA-256 of the secret. */
  hash: Buffer;
  expiresAt: Date | null;
}

/** A live digest as `liveDigests` yields it. */
export interface LiveDigestJson {
  id: string;
  hash: string;
  expires_at: string | null;
}

/**
 * A column with the digests of a client's secrets that are alive at `now`, so that a client is read with them in
 * one query. `clientId` is a value, or a reference to a column of the outer query. Read it with `toLiveDigests`.
 */
export function liveDigests(kind: ClientKind, clientId: unknown, now: Date) {
  return sql<LiveDigestJson[]>`(
    select coalesce(json_agg(json_build_object(
             'id', s.id, 'hash', encode(s.secret_hash, 'hex'), 'expires_at', s.expires_at) order by s.id), '[]'::json)
      from ${sql.table(tables[kind])} s
     where s.client_id = ${clientId} and s.secret_hash is not null and s.revoked_at is null and (s.expires_at is null or s.expires_at > ${now}))`;
}

export function toLiveDigests(column: LiveDigestJson[]): LiveDigest[] {
  return column.map(({ id, hash, expires_at }) => ({
    id,
    hash: Buffer.from(hash, 'hex'),
    expiresAt: expires_at === null ? null : new Date(expires_at),
  }));
}

/** The digests of the client's secrets that are alive at `now`, oldest first. */
export async function listLiveDigests(db: Db, client: Client, now: Date): Promise<LiveDigest[]> {
  const column = liveDigests(client.kind, client.id, now).as('secrets');
  const row = await db.selectNoFrom(column).executeTakeFirstOrThrow();
  return toLiveDigests(row.secrets);
}
