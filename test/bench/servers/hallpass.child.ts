import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { BrokerConfig } from '../../../src/compose.ts';
import { createCountingEngine } from './counting-engine.ts';

/** Imports a module of the built broker: a transpiler that runs sources would add its own cost. */
const built = <Module>(path: string): Promise<Module> =>
  import(new URL(`../../../dist/${path}.js`, import.meta.url).href) as Promise<Module>;

const { compose } = await built<typeof import('../../../src/compose.ts')>('compose');
const { TargetFailure } =
  await built<typeof import('../../../src/engines/target-failure.ts')>('engines/target-failure');
const { parseMasterKey } =
  await built<typeof import('../../../src/crypto/master-key.ts')>('crypto/master-key');
const { parseIssuer } = await built<typeof import('../../../src/platform/issuer.ts')>('platform/issuer');
const { systemClock } = await built<typeof import('../../../src/platform/clock.ts')>('platform/clock');
const { createSystemRandom, generateSecret } =
  await built<typeof import('../../../src/platform/random.ts')>('platform/random');
const { startHttpServer } =
  await built<typeof import('../../../src/start/http-server.ts')>('start/http-server');

/**
 * Starts a broker over a database, with an agent that has an active grant. Writes one line that says how to send requests.
 * `about` is the line of another broker that used the same database before; then nothing is created. `countedAccounts` is
 * the number of accounts of fake targets whose endings are counted. Each order is a line of JSON on standard input.
 */
interface Options {
  databaseUrl: string;
  trustedProxies?: string[];
  masterKey?: string;
  rateLimitPerSecond?: number | 'off';
  dpopNonce?: 'required' | 'optional';
  countedAccounts?: number;
  /** An API on loopback: the broker has a gateway, behind which it is registered. */
  upstreamUrl?: string;
  about?: Story & { form: string; authorization: string };
}

/** An order, and its answer: a line of JSON. */
const orders = {
  /** Runs a job of the background worker. */
  job: runJob,
  /** Starts the background worker. */
  async startWorker() {
    await broker.worker.start();
    return {};
  },
  /** Returns how many accounts have been removed. */
  countRemoved: async () => ({ removed: counting?.calls.cleanUp.reduce((sum, n) => sum + n, 0) ?? 0 }),
  /** Writes the counts of calls to files, named `path` and the name of the call. */
  async writeCalls(path: string) {
    for (const [call, counts] of Object.entries(counting?.calls ?? {}))
      writeFileSync(`${path}.${call}`, counts);
    return {};
  },
};

/** The credentials and ids that the orchestrator needs to act as any caller. */
interface Story {
  masterKey: string;
  adminKey: string;
  agentId: string;
  brokerToken: string;
  grantId: string;
  resource: string;
}

const options = JSON.parse(process.argv[2] ?? '{}') as Options;
const random = createSystemRandom();
const issuer = parseIssuer('https://hallpass.test');
if (issuer === undefined) throw new Error('not an issuer');
const adminKey = options.about?.adminKey ?? generateSecret(random, 'hpa');
const masterKey = options.about?.masterKey ?? options.masterKey ?? random.bytes(32).toString('base64url');
const counting =
  options.countedAccounts === undefined
    ? undefined
    : createCountingEngine(options.countedAccounts, TargetFailure);
const gatewayServer =
  options.upstreamUrl === undefined
    ? undefined
    : await startHttpServer({ host: '127.0.0.1', port: 0, clock: systemClock });
const config: BrokerConfig = {
  databaseUrl: options.databaseUrl,
  issuer,
  gatewayUrl: gatewayServer && parseIssuer(`http://127.0.0.1:${gatewayServer.port}`),
  masterKey: parseMasterKey(masterKey),
  oldMasterKeys: [],
  bootstrapAdminKey: options.about === undefined ? adminKey : undefined,
  logLevel: 'info',
  trustedProxies: options.trustedProxies ?? [],
  outboundAllow: ['127.0.0.0/8'],
  targetAllow: [],
  targetPlaintext: [],
  dpopNonce: options.dpopNonce ?? 'required',
  preparedStatements: true,
  // An address that is used but cannot be reached.
  rateLimitPerSecond: options.rateLimitPerSecond ?? 100_000,
};
const broker = await compose(config, counting === undefined ? {} : { engines: counting.engines });
const server = await startHttpServer({ host: '127.0.0.1', port: 0, clock: systemClock });
server.serve(broker.app);
if (broker.gateway !== undefined) gatewayServer?.serve(broker.gateway);
const url = `http://127.0.0.1:${server.port}`;

async function post(path: string, body: object, key = adminKey): Promise<Record<string, string>> {
  const response = await fetch(`${url}${path}`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as Record<string, string>;
}

async function makeAgent(): Promise<Story & { form: string; authorization: string }> {
  const owner = await post('/v1/admins', { name: 'owner', email: 'owner@example.com', roles: [] });
  const cedar =
    'permit(principal, action == Action::"request", resource) when { context.max_risk == "low" };';
  await post('/v1/policies', { name: 'low risk', cedar });
  const identifier = 'https://api.example';
  const scopes = [{ name: 'read', description: 'Read', risk: 'low' }];
  const terms = { kind: 'api', max_grant_seconds: 86_400, token_ttl_seconds: 900 };
  await post('/v1/resources', { identifier, name: 'API', scopes, ...terms });
  const method = { environment: 'production', token_endpoint_auth_method: 'client_secret_basic' };
  const agent = await post('/v1/agents', { name: 'agent', owner: owner.id, ...method });
  const authorization = `Basic ${Buffer.from(`${agent.id}:${agent.client_secret}`).toString('base64')}`;
  const issued = await fetch(`${url}/oauth2/token`, {
    method: 'POST',
    headers: { Authorization: authorization, 'Content-Type': 'application/x-www-form-urlencoded' },
    body: 'grant_type=client_credentials',
  });
  const { access_token: brokerToken = '' } = (await issued.json()) as { access_token?: string };
  const request = { resource: identifier, scopes: ['read'], duration_seconds: 86_400, reason: 'bench' };
  const { id: grantId = '' } = await post('/v1/grants', request, brokerToken);
  const form = `grant_type=client_credentials&resource=${encodeURIComponent(identifier)}&scope=read`;
  const { id: agentId = '' } = agent;
  return { masterKey, adminKey, agentId, brokerToken, grantId, resource: identifier, form, authorization };
}

/** Registers the upstream behind the gateway, and gets a token for it. Returns how to call it. */
async function makeUpstream({ brokerToken, authorization }: { brokerToken: string; authorization: string }) {
  const identifier = 'https://upstream.example';
  const scopes = [
    { name: 'use', description: 'Use', risk: 'low', routes: [{ methods: ['POST'], path: '/items' }] },
  ];
  const credential = { type: 'bearer', secret: 'sk-0123456789abcdef0123456789abcdef' };
  const upstream = { base_url: options.upstreamUrl, protocol: 'plain', credential };
  const terms = { kind: 'http', slug: 'items', max_grant_seconds: 86_400, token_ttl_seconds: 900 };
  const made = await post('/v1/resources', { identifier, name: 'Items', scopes, upstream, ...terms });
  const request = { resource: identifier, scopes: ['use'], duration_seconds: 86_400, reason: 'bench' };
  await post('/v1/grants', request, brokerToken);
  const issued = await fetch(`${url}/oauth2/token`, {
    method: 'POST',
    headers: { Authorization: authorization, 'Content-Type': 'application/x-www-form-urlencoded' },
    body: `grant_type=client_credentials&resource=${encodeURIComponent(identifier)}`,
  });
  const { access_token: token = '' } = (await issued.json()) as { access_token?: string };
  return { callUrl: `${made.gateway_url}/items`, callAuthorization: `Bearer ${token}` };
}

const about = options.about ?? (await makeAgent());
const upstreamCall = options.upstreamUrl === undefined ? {} : await makeUpstream(about);
process.stdout.write(`${JSON.stringify({ ...about, ...upstreamCall, url: `${url}/oauth2/token` })}\n`);

async function lastError(job: string): Promise<string | null> {
  const response = await fetch(`${url}/v1/jobs`, { headers: { Authorization: `Bearer ${about.adminKey}` } });
  const { items } = (await response.json()) as { items: { name: string; last_error: string | null }[] };
  return items.find(({ name }) => name === job)?.last_error ?? null;
}

async function runJob(job: string): Promise<object> {
  const startedAt = performance.now();
  await broker.worker.register();
  const outcome = await broker.worker.runNow(job, new Date(Math.floor(Date.now() / 1000) * 1000));
  const ms = performance.now() - startedAt;
  return { outcome, ms, error: outcome === 'done' ? null : await lastError(job) };
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const [[name, argument] = []] = Object.entries(JSON.parse(line) as Record<string, string>);
  void orders[name as keyof typeof orders](argument ?? '').then((answer) =>
    process.stdout.write(`${JSON.stringify(answer)}\n`),
  );
});
process.once('SIGTERM', () => {
  void server
    .drain({ graceMs: 0, deadlineMs: 0 })
    .then(() => broker.worker.stop())
    .then(() => broker.close())
    .then(() => process.exit(0));
});
