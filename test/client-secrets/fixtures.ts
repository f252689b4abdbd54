import { createAgentsService } from '../../src/agents/service.ts';
import type { NewAgent } from '../../src/agents/terms.ts';
import { createAudit } from '../../src/audit/audit.ts';
import type { Act, Person } from '../../src/caller.ts';
import { createEnvelope } from '../../src/crypto/envelope.ts';
import { createIds } from '../../src/platform/ids.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { createResourcesService } from '../../src/resources/service.ts';
import type { NewResource } from '../../src/resources/terms.ts';
import { createUpstreamsService } from '../../src/resources/upstreams/service.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { grantEndingsOn } from '../support/grant-endings.ts';
import { testMasterKey } from '../support/test-config.ts';
import type { TestDatabase } from '../support/test-database.ts';

/** Returns the act of the person `id`, as a caller of a service. */
export function actOf(id: string): Act<Person> {
  return {
    caller: { kind: 'person', id, keyId: 'adk_1', keyIssuedBy: null, roles: ['admin'], groups: [] },
    origin: { requestId: 'req_1', address: '192.0.2.1' },
  };
}

export const issuer = 'https://hallpass.test';

const noTarget = async (): Promise<never> => {
  throw new Error('these tests have no targets');
};
const noTargets = {
  prepare: noTarget,
  test: noTarget,
  mappingProblem: () => undefined,
  sharePassword: noTarget,
};

/** Creates the services under test over one database, with their shared dependencies. */
export function servicesOn(database: TestDatabase, clock = new FakeClock()) {
  const { db } = database;
  const random = createSystemRandom();
  const ids = createIds(clock, random);
  const grantEndings = grantEndingsOn({ db, clock, ids });
  const deps = { db, audit: createAudit({ clock, ids }), clock, random, ids, grantEndings };
  const envelope = createEnvelope({ current: testMasterKey, old: [], random });
  const upstreams = createUpstreamsService({ ...deps, envelope, ownOrigins: [issuer] });
  const hasActiveKey = async (alg: string): Promise<boolean> => alg !== 'RS256';
  return {
    deps,
    agents: createAgentsService({
      ...deps,
      isFetchable: () => true,
      trustedIssuers: { lockTrust: async () => ({ issuer: 'https://ci.example', tenantClaims: [] }) },
    }),
    resources: createResourcesService({
      ...deps,
      issuer,
      gatewayUrl: 'https://gateway.hallpass.test',
      hasActiveKey,
      connections: noTargets,
      upstreams,
    }),
  };
}

export type Services = ReturnType<typeof servicesOn>;

/** Adds a person without a role. Returns the id. */
export async function addPerson({ deps: { db, ids, clock } }: Services): Promise<string> {
  const id = ids.next('admin');
  const at = clock.now();
  await db
    .insertInto('admins')
    .values({
      id,
      name: id,
      email: `${id}@example.com`,
      roles: [],
      groups: [],
      created_at: at,
      updated_at: at,
    })
    .execute();
  return id;
}

export function newAgent(owner: string, terms: Partial<NewAgent> = {}): NewAgent {
  return {
    name: 'report-writer',
    owner,
    environment: 'production',
    authMethod: 'client_secret_basic',
    legacyAudience: false,
    requireBoundTokens: false,
    grantsOnDemand: false,
    labels: ['team:data'],
    expiresAt: null,
    ...terms,
  };
}

let made = 0;

/** Makes the terms of a resource with a unique identifier. */
export function newResource(terms: Partial<NewResource> = {}): NewResource {
  made += 1;
  return {
    identifier: `https://api-${made}.example/v1`,
    name: 'Inference API',
    kind: 'api',
    scopes: [
      { name: 'chat', description: 'Run chat completions', risk: 'low' },
      { name: 'embed', description: 'Compute embeddings', risk: 'medium' },
    ],
    maxGrantSeconds: 3600,
    ...terms,
  };
}

export interface RecordedEvent {
  type: string;
  actor: string;
  agentId: string | null;
  grantId: string | null;
  objectId: string | null;
  details: unknown;
}

/** Returns the audit events that contain `needle`, ordered by type and then by transaction. */
export async function eventsAbout({ deps: { db } }: Services, needle: string): Promise<RecordedEvent[]> {
  const rows = await db
    .selectFrom('audit_events')
    .select(['type', 'actor_id', 'agent_id', 'grant_id', 'object_id', 'details'])
    .orderBy('tx')
    .orderBy('type')
    .execute();
  return rows
    .filter((row) => JSON.stringify(row).includes(needle))
    .map((row) => ({
      type: row.type,
      actor: row.actor_id,
      agentId: row.agent_id,
      grantId: row.grant_id,
      objectId: row.object_id,
      details: row.details,
    }));
}

/** Counts how many of `attempts` succeed, and collects the codes of the refusals. */
export async function outcomes(
  attempts: Promise<unknown>[],
): Promise<{ succeeded: number; codes: Set<string | undefined> }> {
  const settled = await Promise.allSettled(attempts);
  const refused = settled.flatMap((one) =>
    one.status === 'rejected' ? [(one.reason as { code?: string }).code] : [],
  );
  return { succeeded: settled.length - refused.length, codes: new Set(refused) };
}

export interface GrantOf {
  agentId: string;
  resourceId: string;
  scopes: string[];
  status?: 'pending' | 'scheduled' | 'active';
  /** How long the grant lasts, or waits for a decision, from now. */
  seconds?: number;
  agentEpoch?: number;
  db?: TestDatabase['db'];
}

/** Inserts a grant with these values. Returns its id. */
export async function addGrant({ deps }: Services, grant: GrantOf): Promise<string> {
  const { status = 'active', seconds = 600, agentEpoch = 1, db = deps.db } = grant;
  const id = deps.ids.next('grant');
  const now = deps.clock.now();
  const end = new Date(now.getTime() + seconds * 1000);
  const start = status === 'scheduled' ? new Date(end.getTime() - 1000) : new Date(now.getTime() - 10_000);
  const period =
    status === 'pending' ? {} : { starts_at: start, expires_at: end, decided_at: now, approval_facts: '{}' };
  await db
    .insertInto('grants')
    .values({
      id,
      agent_id: grant.agentId,
      resource_id: grant.resourceId,
      status,
      requested_scopes: grant.scopes,
      requested_duration_seconds: 600,
      scopes: grant.scopes,
      duration_seconds: 600,
      reason: 'a reason',
      request_digest: 'digest',
      request_facts: '{}',
      approvals_required: 0,
      decision_policies: '[]',
      owner_at_request: 'adm_1',
      agent_epoch: agentEpoch,
      resource_epoch: 1,
      requested_at: now,
      lapses_at: end,
      ...period,
    })
    .execute();
  return id;
}
