import pg from 'pg';
import { expect } from 'vitest';
import { type Cluster, startCluster } from '../../cluster/cluster.ts';
import { startOwnServer } from '../../cluster/own-server.ts';
import { type PostgresSubject, preparePostgres } from '../../engines/postgres/subject.ts';
import { permitAll } from '../../oauth/fixtures.ts';
import {
  type Api,
  apiOf,
  asBootstrap,
  createAgent,
  createPolicy,
  type TestAgent,
} from '../../support/broker.ts';

/** Two processes of the built broker, a PostgreSQL server as their target, and agents with a grant each. */
export interface TargetScene {
  cluster: Cluster;
  subject: PostgresSubject;
  agents: AgentWithGrant[];
  admin(url: string): Api;
  /** Returns the roles in the target that the broker has made. */
  accounts(): Promise<string[]>;
  /** Returns the roles of ours that have sessions in the target. */
  connected(): Promise<string[]>;
}

export interface AgentWithGrant {
  agent: TestAgent;
  token: string;
  grantId: string;
}

/** The server of the suite has the database of the brokers, because it must not be their target. */
export async function startTargetScene({ agentCount = 3, maxSessions = 300 } = {}): Promise<TargetScene> {
  const server = await startOwnServer({ max_connections: String(maxSessions) });
  const subject = await preparePostgres(server.adminUrl);
  const cluster = await startCluster({ HALLPASS_TARGET_ALLOW: '127.0.0.0/8' });
  const [first] = cluster.replicas;
  await createPolicy(first, permitAll);
  const agents = await createTarget(first, subject, { agentCount });
  return {
    cluster,
    subject,
    agents,
    admin: (url) => asBootstrap({ url }),
    async accounts() {
      const rows = await subject.asSuperuser<{ name: string }>(
        "select rolname as name from pg_roles where rolname like 'hp\\_%' order by rolname",
      );
      return rows.map(({ name }) => name);
    },
    async connected() {
      const rows = await subject.asSuperuser<{ name: string }>(
        "select distinct usename as name from pg_stat_activity where usename like 'hp\\_%' order by usename",
      );
      return rows.map(({ name }) => name);
    },
  };
}

/** Adds a target on the same server, which the brokers reach at another port if one is given. Returns its agents. */
export async function addTarget(
  { cluster, subject }: TargetScene,
  options: { agentCount: number; port?: number },
): Promise<AgentWithGrant[]> {
  return createTarget(cluster.replicas[0], await preparePostgres(subject.adminUrl), options);
}

async function createTarget(
  broker: { url: string },
  { options, reader }: PostgresSubject,
  { agentCount, port = options.connection.port }: { agentCount: number; port?: number },
): Promise<AgentWithGrant[]> {
  const { host, database, username, password } = options.connection;
  const body = {
    identifier: `postgres://target.internal/${database}`,
    name: 'Orders',
    kind: 'postgres',
    scopes: [{ name: 'read', description: 'Read orders', risk: 'low', roles: [reader] }],
    max_grant_seconds: 7200,
    connection: {
      ...{ host, port, database, username, password, tls: { mode: 'off' } },
      endpoint: { host, port: options.connection.port },
    },
  };
  const created = await asBootstrap(broker).post('/v1/resources', body);
  expect([created.status, created.body.problems]).toEqual([201, undefined]);
  const agents: AgentWithGrant[] = [];
  for (let n = 0; n < agentCount; n += 1) agents.push(await createAgentWithGrant(broker, body));
  return agents;
}

async function createAgentWithGrant(
  broker: { url: string },
  resource: { identifier: string },
): Promise<AgentWithGrant> {
  const agent = await createAgent(broker);
  const token = (await agent.token().expect(200)).body.access_token;
  const terms = { resource: resource.identifier, scopes: ['read'], duration_seconds: 3600, reason: 'test' };
  const grant = await apiOf(broker, token).post('/v1/grants', terms).expect(201);
  return { agent, token, grantId: grant.body.id };
}

export interface LeaseAnswer {
  id: string;
  expires_at: string;
  credential: { username: string; password: string; host: string; port: number; database: string };
}

/** A session that queries all the time until the target ends it. */
export interface QueryingSession {
  /** When the last query that succeeded was answered, in milliseconds. */
  lastSuccessMs(): number;
  isOpen(): boolean;
  ended: Promise<void>;
}

/** Logs in with the credential of a lease, and queries again and again. */
export async function openQueryingSession(
  { credential }: LeaseAnswer,
  { everyMs = 20 } = {},
): Promise<QueryingSession> {
  const { username: user, ...rest } = credential;
  const client = new pg.Client({ ...rest, user, ssl: false });
  client.on('error', () => {});
  await client.connect();
  let lastSuccessMs = Date.now();
  let isOpen = true;
  const query = async (): Promise<void> => {
    try {
      for (;;) {
        await client.query('select id from s.orders');
        lastSuccessMs = Date.now();
        await new Promise((resolve) => setTimeout(resolve, everyMs));
      }
    } catch {
      isOpen = false;
      await client.end().catch(() => {});
    }
  };
  return { lastSuccessMs: () => lastSuccessMs, isOpen: () => isOpen, ended: query() };
}
