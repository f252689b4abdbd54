import type { Db, Tx } from '../db/database.ts';
import type { Client, ClientSecret } from './client-secret.ts';
import { type SecretDigest, secretTables, toSecretDigests, validDigests } from './secret-digests.ts';

export interface NewClientSecret {
  id: string;
  secretHash: Buffer;
  issuedBy: string;
  createdAt: Date;
  expiresAt: Date | null;
}

export async function insertSecret(tx: Tx, client: Client, secret: NewClientSecret): Promise<void> {
  await tx
    .insertInto(secretTables[client.kind])
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

/** Lists all secrets that the client ever had, oldest first. */
export async function listSecrets(db: Db, client: Client): Promise<ClientSecret[]> {
  const rows = await db
    .selectFrom(secretTables[client.kind])
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

/** Counts the client's secrets that are valid at `now`. */
export async function countValidSecrets(tx: Tx, client: Client, now: Date): Promise<number> {
  const row = await tx
    .selectFrom(secretTables[client.kind])
    .select((eb) => eb.fn.countAll<number>().as('n'))
    .where('client_id', '=', client.id)
    .where('secret_hash', 'is not', null)
    .where('revoked_at', 'is', null)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
    .executeTakeFirstOrThrow();
  return row.n;
}

/** Revokes a secret. Returns whether the client has it and whether this call revoked it. */
export async function revokeSecret(
  tx: Tx,
  client: Client,
  secret: { id: string; at: Date },
): Promise<'revoked' | 'already' | 'unknown'> {
  const changed = await tx
    .updateTable(secretTables[client.kind])
    .set({ revoked_at: secret.at })
    .where('id', '=', secret.id)
    .where('client_id', '=', client.id)
    .where('secret_hash', 'is not', null)
    .where('revoked_at', 'is', null)
    .executeTakeFirst();
  if (changed.numUpdatedRows > 0n) return 'revoked';
  const row = await tx
    .selectFrom(secretTables[client.kind])
    .select('id')
    .where('id', '=', secret.id)
    .where('client_id', '=', client.id)
    .where('secret_hash', 'is not', null)
    .executeTakeFirst();
  return row === undefined ? 'unknown' : 'already';
}

/** Revokes every credential of a client. Returns the ids of the credentials that this call revoked. */
export async function revokeAllSecrets(tx: Tx, client: Client, at: Date): Promise<string[]> {
  const rows = await tx
    .updateTable(secretTables[client.kind])
    .set({ revoked_at: at })
    .where('client_id', '=', client.id)
    .where('revoked_at', 'is', null)
    .returning('id')
    .execute();
  return rows.map((row) => row.id).sort();
}

/** Revokes every credential of every client: secrets, keys and identities. Returns how many this call revoked. */
export async function revokeEverySecret(tx: Tx, at: Date): Promise<number> {
  let revoked = 0;
  for (const table of Object.values(secretTables)) {
    const result = await tx
      .updateTable(table)
      .set({ revoked_at: at })
      .where('revoked_at', 'is', null)
      .executeTakeFirst();
    revoked += Number(result.numUpdatedRows);
  }
  return revoked;
}

/** Lists the digests of the client's secrets that are valid at `now`, oldest first. */
export async function listValidDigests(db: Db, client: Client, now: Date): Promise<SecretDigest[]> {
  const column = validDigests(client.kind, client.id, now).as('secrets');
  const row = await db.selectNoFrom(column).executeTakeFirstOrThrow();
  return toSecretDigests(row.secrets);
}
