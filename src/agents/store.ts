import { type Selectable, sql } from 'kysely';
import { type SecretDigest, toSecretDigests, validDigests } from '../client-secrets/secret-digests.ts';
import type { Db, Tx } from '../db/database.ts';
import type { Agents } from '../db/schema.gen.ts';
import type { Agent, ClientAuthMethod, Environment } from './agent.ts';
import { type StoredKeys, validKeys } from './credentials/store.ts';

const columns = [
  'id',
  'name',
  'owner_id',
  'environment',
  'token_endpoint_auth_method',
  'legacy_audience',
  'require_bound_tokens',
  'grants_on_demand',
  'labels',
  'epoch',
  'version',
  'created_at',
  'created_by',
  'updated_at',
  'expires_at',
  'disabled_at',
] as const;

function toAgent(row: Pick<Selectable<Agents>, (typeof columns)[number]>): Agent {
  return {
    id: row.id,
    name: row.name,
    owner: row.owner_id,
    environment: row.environment as Environment,
    authMethod: row.token_endpoint_auth_method as ClientAuthMethod,
    legacyAudience: row.legacy_audience,
    requireBoundTokens: row.require_bound_tokens,
    grantsOnDemand: row.grants_on_demand,
    labels: row.labels,
    epoch: row.epoch,
    version: row.version,
    createdAt: row.created_at,
    createdBy: row.created_by,
    updatedAt: row.updated_at,
    expiresAt: row.expires_at,
    disabledAt: row.disabled_at,
  };
}

function living(db: Db) {
  return db.selectFrom('agents').select(columns).where('deleted_at', 'is', null);
}

/** The members of an agent that a caller can set. */
export type AgentTerms = Pick<
  Agent,
  | 'name'
  | 'owner'
  | 'environment'
  | 'authMethod'
  | 'legacyAudience'
  | 'requireBoundTokens'
  | 'grantsOnDemand'
  | 'labels'
  | 'expiresAt'
>;

export async function insertAgent(
  tx: Tx,
  agent: AgentTerms & { id: string; createdAt: Date; createdBy: string },
): Promise<Agent> {
  const row = await tx
    .insertInto('agents')
    .values({
      id: agent.id,
      name: agent.name,
      owner_id: agent.owner,
      environment: agent.environment,
      token_endpoint_auth_method: agent.authMethod,
      legacy_audience: agent.legacyAudience,
      require_bound_tokens: agent.requireBoundTokens,
      grants_on_demand: agent.grantsOnDemand,
      labels: agent.labels,
      created_at: agent.createdAt,
      created_by: agent.createdBy,
      updated_at: agent.createdAt,
      expires_at: agent.expiresAt,
    })
    .returning(columns)
    .executeTakeFirstOrThrow();
  return toAgent(row);
}

export async function findAgent(db: Db, id: string): Promise<Agent | undefined> {
  const row = await living(db).where('id', '=', id).executeTakeFirst();
  return row === undefined ? undefined : toAgent(row);
}

/** Returns an agent, with its row locked until the transaction ends. */
export async function lockAgent(tx: Tx, id: string): Promise<Agent | undefined> {
  const row = await living(tx).where('id', '=', id).forUpdate().executeTakeFirst();
  return row === undefined ? undefined : toAgent(row);
}

/**
 * Returns an agent, locked against changes until the transaction ends, so that a grant that is made meanwhile has the
 * current epoch.
 */
export async function lockAgentShared(tx: Tx, id: string): Promise<Agent | undefined> {
  const row = await living(tx).where('id', '=', id).forShare().executeTakeFirst();
  return row === undefined ? undefined : toAgent(row);
}

/**
 * Whether a person exists who can be an owner. The person cannot be deleted until the transaction ends. A transaction
 * that waits to delete the person then sees the new agent.
 */
export async function lockOwner(tx: Tx, adminId: string): Promise<boolean> {
  const row = await tx
    .selectFrom('admins')
    .select('id')
    .where('id', '=', adminId)
    .where('deleted_at', 'is', null)
    .forShare()
    .executeTakeFirst();
  return row !== undefined;
}

export async function listAgents(
  db: Db,
  page: { limit: number; after?: string | undefined },
): Promise<Agent[]> {
  let query = living(db).orderBy('id').limit(page.limit);
  if (page.after !== undefined) query = query.where('id', '>', page.after);
  return (await query.execute()).map(toAgent);
}

export type AgentChange = { [Field in keyof AgentTerms]?: AgentTerms[Field] | undefined };

/** Changes the given members. `raiseEpoch` ends everything that was issued to the agent so far. */
export async function updateAgent(
  tx: Tx,
  { id, change, raiseEpoch, at }: { id: string; change: AgentChange; raiseEpoch: boolean; at: Date },
): Promise<Agent> {
  const row = await tx
    .updateTable('agents')
    .set((eb) => ({
      name: change.name,
      owner_id: change.owner,
      environment: change.environment,
      token_endpoint_auth_method: change.authMethod,
      legacy_audience: change.legacyAudience,
      require_bound_tokens: change.requireBoundTokens,
      grants_on_demand: change.grantsOnDemand,
      labels: change.labels,
      expires_at: change.expiresAt,
      epoch: raiseEpoch ? eb('epoch', '+', 1) : undefined,
      updated_at: at,
    }))
    .where('id', '=', id)
    .returning(columns)
    .executeTakeFirstOrThrow();
  return toAgent(row);
}

interface Moment {
  id: string;
  at: Date;
}

/**
 * Disables an enabled or expired agent, which permanently ends what was issued to it. Returns undefined for any other
 * agent.
 */
export async function disableAgent(tx: Tx, { id, at }: Moment): Promise<Agent | undefined> {
  const row = await tx
    .updateTable('agents')
    .set((eb) => ({ disabled_at: at, epoch: eb('epoch', '+', 1), updated_at: at }))
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .where('disabled_at', 'is', null)
    .returning(columns)
    .executeTakeFirst();
  return row === undefined ? undefined : toAgent(row);
}

/** Enables a disabled agent; its epoch stays raised. Returns undefined if the agent is not disabled. */
export async function enableAgent(tx: Tx, { id, at }: Moment): Promise<Agent | undefined> {
  const row = await tx
    .updateTable('agents')
    .set({ disabled_at: null, updated_at: at })
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .where('disabled_at', 'is not', null)
    .returning(columns)
    .executeTakeFirst();
  return row === undefined ? undefined : toAgent(row);
}

/**
 * Marks the agent as deleted, which permanently ends what was issued to it. Its id is never reused. Returns false
 * if there is no agent with this id.
 */
export async function deleteAgent(tx: Tx, { id, at }: Moment): Promise<boolean> {
  const result = await tx
    .updateTable('agents')
    .set((eb) => ({ deleted_at: at, epoch: eb('epoch', '+', 1), updated_at: at }))
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

/**
 * Raises the epoch of every agent, in the order of ids, which permanently ends what was issued to them. Returns the
 * number of agents.
 */
export async function raiseEveryEpoch(tx: Tx, at: Date): Promise<number> {
  const result = await sql`
    with living as (select id from agents where deleted_at is null order by id for update)
    update agents a set epoch = a.epoch + 1, updated_at = ${at} from living where a.id = living.id`.execute(
    tx,
  );
  return Number(result.numAffectedRows ?? 0n);
}

/** Selects the credentials that were valid at `since` or later. */
function validCredentials(db: Db, agentId: string, since: Date) {
  return db
    .selectFrom('agent_secrets as s')
    .where('s.client_id', '=', agentId)
    .where((eb) => eb.or([eb('s.revoked_at', 'is', null), eb('s.revoked_at', '>=', since)]))
    .where((eb) => eb.or([eb('s.expires_at', 'is', null), eb('s.expires_at', '>', since)]));
}

function ownersSince(db: Db, agentId: string, since: Date) {
  return db
    .selectFrom('agent_owners')
    .select('owner_id as id')
    .where('agent_id', '=', agentId)
    .where((eb) => eb.or([eb('until', 'is', null), eb('until', '>=', since)]));
}

/**
 * Returns the controllers of an agent since `since` (see `controlSince`): the people who owned it then or later, who
 * created it, who issued a credential that was valid then or later, or who registered or changed the trusted issuer
 * of its identity.
 */
export async function listControllers(db: Db, agentId: string, since: Date): Promise<Set<string>> {
  const rows = await db
    .selectFrom('agents')
    .select('owner_id as id')
    .where('id', '=', agentId)
    .union(db.selectFrom('agents').select('created_by as id').where('id', '=', agentId))
    .union(ownersSince(db, agentId, since))
    .union(validCredentials(db, agentId, since).select('s.issued_by as id'))
    .union(
      validCredentials(db, agentId, since)
        .innerJoin('trusted_issuers as i', 'i.id', 's.trusted_issuer_id')
        .select(sql<string>`unnest(i.controllers)`.as('id')),
    )
    .execute();
  return new Set(rows.map((row) => row.id));
}

/** An agent with what the token endpoint needs to authenticate it. */
export interface AgentClient extends Agent {
  secrets: SecretDigest[];
  keys: StoredKeys[] | undefined;
}

/** Reads an agent with its valid secrets or keys in one query. */
export async function findAgentClient(db: Db, clientId: string, now: Date): Promise<AgentClient | undefined> {
  const row = await living(db)
    .select(validDigests('agent', sql.ref('agents.id'), now).as('secrets'))
    .select(validKeys(sql.ref('agents.id')).as('keys'))
    .where('id', '=', clientId)
    .executeTakeFirst();
  if (row === undefined) return undefined;
  return { ...toAgent(row), secrets: toSecretDigests(row.secrets), keys: row.keys ?? undefined };
}
