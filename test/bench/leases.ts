import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import { compose } from '../../src/compose.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createSystemRandom, generateSecret } from '../../src/platform/random.ts';
import type { AnyJson } from '../support/any-json.ts';
import { asBootstrap, createAgent, createPolicy } from '../support/broker.ts';
import { testConfig } from '../support/test-config.ts';
import { fail, median, ms, print, printTarget, rate, setting } from './figures.ts';
import { startPostgres, withClient } from './postgres.ts';

/**
 * Measures leases beside what a program does that makes accounts by itself: CREATE ROLE with its membership and a login, and
 * then DROP ROLE. Both run with the same concurrency against the same target, in turns.
 */
const rounds = setting('ROUNDS', 3);
const accounts = setting('ACCOUNTS', 200);
const concurrency = setting('CONCURRENCY', 4);
/** The leases that end in the same second, each with a session that queries. */
const ending = setting('ENDING', 100);
const random = createSystemRandom();

interface Account {
  user: string;
  password: string;
}

async function inParallel(count: number, work: (index: number) => Promise<void>): Promise<number> {
  let next = 0;
  const begun = performance.now();
  const run = async (): Promise<void> => {
    for (let index = next; index < count; index = next) {
      next += 1;
      await work(index);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, run));
  return (count / (performance.now() - begun)) * 1000;
}

async function startBroker(databaseUrl: string) {
  const config = { ...testConfig(databaseUrl), rateLimitPerSecond: 'off' as const };
  const broker = await compose(config);
  const server = createServer(broker.app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const stop = async () => {
    await broker.worker.stop();
    server.closeAllConnections();
    server.close();
    await broker.close();
  };
  return { url, worker: broker.worker, stop };
}

/** Posts JSON over connections that stay open, as agents do: the client of the tests would take a part of the time. */
function createPost(url: string, token: string) {
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
  return async (path: string, body: object) => {
    const response = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as AnyJson;
  };
}

const adminRoles = (password: string) => `create role reader; create table orders as select 42 as id;
  grant select on orders to reader; grant connect on database postgres to public;
  create role lease_admin login createrole password '${password}';
  grant reader to lease_admin with admin true, inherit false, set false`;

async function main(): Promise<void> {
  const own = await startPostgres();
  const target = await startPostgres();
  const broker = await startBroker(own.applicationUrl);
  const admin = { user: 'lease_admin', password: generateSecret(random, 'hpl') };
  const { hostname: host, port } = new URL(target.adminUrl);
  const at = { host, port: Number(port), database: 'postgres' };
  const superUrl = Object.assign(new URL(target.adminUrl), { pathname: '/postgres' }).href;
  await withClient(superUrl, (client) => client.query(adminRoles(admin.password)));
  const pool = new pg.Pool({ ...at, ...admin, max: concurrency });
  const logIn = async (account: Account): Promise<pg.Client> => {
    const client = new pg.Client({ ...at, ...account });
    client.on('error', () => {});
    await client.connect();
    return client;
  };
  await createPolicy(broker, 'permit(principal, action, resource);');
  const agent = await createAgent(broker);
  const post = createPost(broker.url, (await agent.token().expect(200)).body.access_token);
  const body = {
    ...{ identifier: 'postgres://orders.example', name: 'Orders', kind: 'postgres', max_grant_seconds: 7200 },
    scopes: [{ name: 'read', description: 'Read', risk: 'low', roles: ['reader'] }],
    connection: { ...at, username: admin.user, password: admin.password, tls: { mode: 'off' } },
  };
  await asBootstrap(broker).post('/v1/resources', body).expect(201);
  const grant = async (seconds: number): Promise<string> => {
    const asked = { resource: body.identifier, scopes: ['read'], duration_seconds: seconds, reason: 'bench' };
    return (await post('/v1/grants', asked)).id;
  };
  const lease = async (grantId: string, ttlSeconds?: number) => {
    const asked = { grant_id: grantId, ...(ttlSeconds === undefined ? {} : { ttl_seconds: ttlSeconds }) };
    const { credential, ...rest } = await post('/v1/leases', asked);
    return { ...rest, account: { user: credential.username, password: credential.password } as Account };
  };
  await compare({
    pool,
    logIn,
    lease,
    grant,
    endLeases: broker.worker.endLeases,
    revoke: (id) => post(`/v1/leases/${id}/revoke`, {}),
  });
  await broker.worker.start();
  await measureOverrun({ lease, grant, logIn });
  await pool.end();
  await broker.stop();
  await Promise.all([own.stop(), target.stop()]);
}

interface Parts {
  pool: pg.Pool;
  logIn: (account: Account) => Promise<pg.Client>;
  grant: (seconds: number) => Promise<string>;
  lease: (
    grantId: string,
    ttlSeconds?: number,
  ) => Promise<{ id: string; expires_at: string; account: Account }>;
  endLeases: () => Promise<void>;
  revoke: (id: string) => PromiseLike<unknown>;
}

async function compare({ pool, logIn, lease, grant, endLeases, revoke }: Parts): Promise<void> {
  const speeds = {
    bareMade: [] as number[],
    made: [] as number[],
    bareGone: [] as number[],
    gone: [] as number[],
  };
  for (let round = 0; round < rounds; round += 1) {
    const bare = Array.from({ length: accounts }, (_, n) => ({
      user: `bare_${round}_${n}`,
      password: generateSecret(random, 'hpl'),
    }));
    speeds.bareMade.push(
      await inParallel(accounts, async (n) => {
        const account = bare[n] as Account;
        await pool.query(
          `create role ${account.user} login password '${account.password}' in role reader valid until '2099-01-01'`,
        );
        await (await logIn(account)).end();
      }),
    );
    const grants = await Promise.all(Array.from({ length: Math.ceil(accounts / 90) }, () => grant(3600)));
    const leases: { id: string }[] = [];
    speeds.made.push(
      await inParallel(Math.min(accounts, 90), async () => {
        const made = await lease(grants[0] ?? '');
        leases.push(made);
        await (await logIn(made.account)).end();
      }),
    );
    speeds.bareGone.push(
      await inParallel(
        accounts,
        async (n) => void (await pool.query(`drop role ${(bare[n] as Account).user}`)),
      ),
    );
    const begun = performance.now();
    await inParallel(leases.length, async (n) => void (await revoke(leases[n]?.id ?? '')));
    await endLeases();
    speeds.gone.push((leases.length / (performance.now() - begun)) * 1000);
  }
  print(`CREATE ROLE and a login      ${rate(median(speeds.bareMade))}`);
  print(`a lease and a login          ${rate(median(speeds.made))}`);
  print(`DROP ROLE                    ${rate(median(speeds.bareGone))}`);
  print(`a lease revoked until gone   ${rate(median(speeds.gone))}`);
  printTarget('create to usable, lease / bare', median(speeds.made) / median(speeds.bareMade), {
    atLeast: 0.6,
  });
  const both = (one: number[], other: number[]): number => 1 / (1 / median(one) + 1 / median(other));
  const ratio = both(speeds.made, speeds.gone) / both(speeds.bareMade, speeds.bareGone);
  printTarget('create to gone, lease / bare', ratio, { atLeast: 0.6 });
}

/** Lets leases expire in the same second while the session of each queries, and finds the last query that succeeded. */
async function measureOverrun({
  lease,
  grant,
  logIn,
}: Pick<Parts, 'lease' | 'grant' | 'logIn'>): Promise<void> {
  const id = await grant(3600);
  const until = Date.now() + 30_000;
  const made: Awaited<ReturnType<Parts['lease']>>[] = [];
  await inParallel(Math.min(ending, 100), async () => {
    made.push(await lease(id, Math.max(Math.ceil((until - Date.now()) / 1000), 1)));
  });
  const overruns = await Promise.all(
    made.map(async ({ account, expires_at }) => {
      const client = await logIn(account);
      const expiry = Date.parse(expires_at);
      for (let last = expiry; ; ) {
        try {
          await client.query('select id from orders');
          last = Date.now();
        } catch {
          return last - expiry;
        }
        if (Date.now() > expiry + 60_000) return Number.POSITIVE_INFINITY;
        await new Promise((resolve) => systemClock.setTimer(250, () => resolve(undefined)));
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
    }),
  );
  const largest = Math.max(...overruns);
  print(
    `${made.length} leases expired within a second: the last access ended ${ms(largest)} after the expiry`,
  );
  printTarget('seconds of access after the expiry', largest / 1000, { atMost: 5 });
  if (!Number.isFinite(largest)) fail('a lease kept its access');
}

await main();
process.exit();
