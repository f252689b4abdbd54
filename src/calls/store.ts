import { sql } from 'kysely';
import type { Db } from '../db/database.ts';
import type { Actor } from '../grants/delegation.ts';
import type { Call, CallEnd, CallOutcome, NewCall } from './call.ts';

/** Records calls in one statement. */
export async function insertCalls(db: Db, calls: readonly NewCall[]): Promise<void> {
  const rows = calls.map((call) => ({
    id: call.id,
    request_id: call.requestId,
    at: call.at,
    grant_id: call.grantId,
    agent_id: call.agentId,
    token_id: call.tokenId,
    actors: call.actors === null ? null : JSON.stringify(call.actors),
    resource_id: call.resourceId,
    scope: call.scope,
    method: call.method,
    path: call.path,
  }));
  await db.insertInto('calls').values(rows).execute();
}

/** Records in one statement how calls ended. */
export async function endCalls(db: Db, ends: readonly (CallEnd & { id: string })[]): Promise<void> {
  const rows = ends.map((end) => ({
    id: end.id,
    ended_at: end.endedAt,
    outcome: end.outcome,
    upstream_status: end.upstreamStatus,
    request_bytes: end.requestBytes,
    request_sha256: end.requestSha256?.toString('hex') ?? null,
    response_bytes: end.responseBytes,
    response_sha256: end.responseSha256?.toString('hex') ?? null,
  }));
  await sql`
    update calls c set ended_at = e.ended_at, outcome = e.outcome, upstream_status = e.upstream_status,
        request_bytes = e.request_bytes, request_sha256 = decode(e.request_sha256, 'hex'),
        response_bytes = e.response_bytes, response_sha256 = decode(e.response_sha256, 'hex')
      from json_to_recordset(${JSON.stringify(rows)}::json) as e(id text, ended_at timestamptz, outcome text,
        upstream_status integer, request_bytes bigint, request_sha256 text, response_bytes bigint, response_sha256 text)
     where c.id = e.id and c.ended_at is null`.execute(db);
}

export interface CallFilter {
  agentId?: string | undefined;
  grantId?: string | undefined;
  resourceId?: string | undefined;
}

const columns = [
  'id',
  'request_id',
  'at',
  'grant_id',
  'agent_id',
  'token_id',
  'actors',
  'resource_id',
  'scope',
  'method',
  'path',
  'ended_at',
  'outcome',
  'upstream_status',
  'request_bytes',
  'request_sha256',
  'response_bytes',
  'response_sha256',
] as const;

/** Lists up to `limit` calls with ids below `before`, newest first. */
export async function listCalls(
  db: Db,
  filter: CallFilter,
  page: { limit: number; before?: string | undefined },
): Promise<Call[]> {
  let query = db.selectFrom('calls').select(columns).orderBy('id', 'desc').limit(page.limit);
  if (page.before !== undefined) query = query.where('id', '<', page.before);
  if (filter.agentId !== undefined) query = query.where('agent_id', '=', filter.agentId);
  if (filter.grantId !== undefined) query = query.where('grant_id', '=', filter.grantId);
  if (filter.resourceId !== undefined) query = query.where('resource_id', '=', filter.resourceId);
  const rows = await query.execute();
  return rows.map((row) => ({
    id: row.id,
    requestId: row.request_id,
    at: row.at,
    grantId: row.grant_id,
    agentId: row.agent_id,
    tokenId: row.token_id,
    actors: row.actors as unknown as Actor | null,
    resourceId: row.resource_id,
    scope: row.scope,
    method: row.method,
    path: row.path,
    endedAt: row.ended_at,
    outcome: row.outcome as CallOutcome | null,
    upstreamStatus: row.upstream_status,
    requestBytes: row.request_bytes,
    requestSha256: row.request_sha256,
    responseBytes: row.response_bytes,
    responseSha256: row.response_sha256,
  }));
}
