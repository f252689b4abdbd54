import type pg from 'pg';
import { at, atOrNull, type Owner, type World } from './model.ts';

/** The ids of the rows of one world. */
export interface Names {
  agent(index: number): string;
  resource(index: number): string;
  grant(index: number): string;
  token(index: number): string;
}

export function namesOf(run: number): Names {
  const name = (kind: string) => (index: number) => `${kind}_${run}_${String(index).padStart(3, '0')}`;
  return { agent: name('agt'), resource: name('res'), grant: name('grt'), token: name('tok') };
}

type Row = Record<string, unknown>;

/** Inserts rows unchanged, without triggers and foreign keys. `admin` is the connection of a superuser. */
async function insert(admin: pg.Client, table: string, rows: Row[]): Promise<void> {
  const columns = Object.keys(rows[0] ?? {}).join();
  await admin.query(
    `insert into ${table} (${columns}) select ${columns} from jsonb_populate_recordset(null::${table}, $1::jsonb)`,
    [JSON.stringify(rows)],
  );
}

const made = { created_at: at(0), created_by: 'adm_1' };
const epochsOf = ({ epoch, epochEnds }: Pick<Owner, 'epoch' | 'epochEnds'>) => ({
  epoch,
  epoch_ends: epochEnds.map(at),
});
const boundOf = ({ requireBound, unboundEndedAt }: Owner) => ({
  require_bound_tokens: requireBound,
  unbound_tokens_ended_at: atOrNull(unboundEndedAt),
});

function agentRows({ agents }: World, names: Names): Row[] {
  return agents.map((agent, n) => ({
    id: names.agent(n),
    name: 'agent',
    owner_id: 'adm_1',
    environment: 'production',
    token_endpoint_auth_method: 'client_secret_basic',
    legacy_audience: false,
    grants_on_demand: false,
    labels: [],
    version: 1,
    ...epochsOf(agent),
    ...boundOf(agent),
    expires_at: atOrNull(agent.expiresAt),
    updated_at: at(0),
    ...made,
  }));
}

function resourceRows({ resources }: World, names: Names): Row[] {
  return resources.map((resource, n) => ({
    id: names.resource(n),
    identifier: `https://${names.resource(n)}.example`,
    name: 'resource',
    kind: 'api',
    labels: [],
    scopes: [],
    max_grant_seconds: 60,
    token_ttl_seconds: 60,
    token_alg: 'ES256',
    authorization_details_types: [],
    version: 1,
    ...epochsOf(resource),
    ...boundOf(resource),
    updated_at: at(0),
    ...made,
  }));
}

function issuerRows({ issuers }: World, names: Names): Row[] {
  return issuers.map((issuer, n) => ({
    id: `tis_${names.agent(n)}`,
    name: 'issuer',
    issuer: `https://${names.agent(n)}.example`,
    audience: 'a',
    claims: {},
    controllers: [],
    subject_tokens: issuer.subjectTokens,
    key_source: 'discovery',
    ...epochsOf(issuer),
    deleted_at: atOrNull(issuer.deletedAt),
    updated_at: at(issuer.updatedAt),
    updated_by: 'adm_1',
    ...made,
  }));
}

const secretRows = ({ tokens }: World, names: Names): Row[] =>
  tokens.map((token, n) => ({
    id: `sec_${names.token(n)}`,
    client_id: names.agent(token.agent),
    secret_hash: `\\x${'00'.repeat(32)}`,
    issued_by: 'adm_1',
    created_at: at(0),
    revoked_at: atOrNull(token.secretRevokedAt),
  }));

const keyRows = ({ tokens }: World, names: Names): Row[] =>
  tokens.map((token, n) => ({
    kid: `key_${names.token(n)}`,
    alg: 'ES256',
    state: token.keyCompromisedAt === null ? 'retired' : 'compromised',
    public_jwk: {},
    private_sealed: '',
    created_at: at(0),
    compromised_at: atOrNull(token.keyCompromisedAt),
  }));

const tokenRows = ({ tokens }: World, names: Names): Row[] =>
  tokens.map((token, n) => ({
    jti: names.token(n),
    iat: at(token.issuedAt),
    exp: at(300),
    agent_id: names.agent(token.agent),
    agent_epoch: 1,
    secret_id: `sec_${names.token(n)}`,
    auth_method: 'client_secret_basic',
    grant_id: token.resource === null ? null : names.grant(0),
    resource_id: token.resource === null ? null : names.resource(token.resource),
    resource_epoch: token.resource === null ? null : 1,
    scopes: ['read'],
    kid: `key_${names.token(n)}`,
    jkt: token.bound ? 'thumbprint' : null,
    revoked_at: atOrNull(token.revokedAt),
    subject_issuer_id: token.issuer === null ? null : `tis_${names.agent(token.issuer.index)}`,
    subject_issuer_epoch: token.issuer?.epoch ?? null,
  }));

const grantRows = ({ grants }: World, names: Names): Row[] =>
  grants.map((grant, n) => ({
    id: names.grant(n),
    agent_id: names.agent(grant.agent),
    resource_id: names.resource(grant.resource),
    status: grant.status,
    version: 1,
    requested_scopes: ['read'],
    requested_duration_seconds: 60,
    scopes: ['read'],
    duration_seconds: 60,
    reason: 'r',
    request_digest: 'd',
    request_facts: {},
    approvals_required: 0,
    approval_facts: { approvals: 0, approver_groups: [] },
    decision_policies: [],
    owner_at_request: 'adm_1',
    agent_epoch: grant.agentEpoch,
    resource_epoch: grant.resourceEpoch,
    requested_at: at(0),
    lapses_at: at(grant.lapsesAt),
    starts_at: at(grant.startsAt),
    expires_at: at(grant.expiresAt),
    ended_at: atOrNull(grant.endedAt),
    ancestors: grant.ancestors.map((index) => names.grant(index)),
    subjects: grant.subjects.map((index) => names.token(index)),
    delegation: grant.ancestors.length === 0 ? null : { sub: 'agt_1', act: { sub: 'agt_2' } },
  }));

/** Writes a world into the database. */
export async function insertWorld(admin: pg.Client, world: World, names: Names): Promise<void> {
  await insert(admin, 'agents', agentRows(world, names));
  await insert(admin, 'resources', resourceRows(world, names));
  await insert(admin, 'trusted_issuers', issuerRows(world, names));
  await insert(admin, 'agent_secrets', secretRows(world, names));
  await insert(admin, 'signing_keys', keyRows(world, names));
  await insert(admin, 'tokens', tokenRows(world, names));
  await insert(admin, 'grants', grantRows(world, names));
}
