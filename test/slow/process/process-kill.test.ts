import { Agent } from 'node:http';
import { decodeJwt } from 'jose';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { type BrokerProcess, launch } from '../../e2e/support/broker-process.ts';
import { ensureBuilt } from '../../e2e/support/build.ts';
import { call, createStory, expecting, type Story } from '../../e2e/support/client.ts';
import { createProduction, migrate, type Production } from '../../e2e/support/production.ts';
import { freePort } from '../../support/free-port.ts';

let production: Production;
let worker: BrokerProcess;
let workerUrl: string;
beforeAll(async () => {
  await ensureBuilt();
  production = await createProduction();
  await migrate(production);
  ({ broker: worker, url: workerUrl } = await start({ HALLPASS_ROLE: 'worker' }));
});

async function start(env: Record<string, string> = {}): Promise<{ broker: BrokerProcess; url: string }> {
  const port = await freePort();
  const broker = launch({
    ...production.env,
    HALLPASS_PORT: String(port),
    HALLPASS_LOG_LEVEL: 'warn',
    ...env,
  });
  await broker.seen('Hallpass listens on');
  return { broker, url: `http://127.0.0.1:${port}` };
}

const callers = 24;
const tokensPerRound = 400;

/** Mints with many callers until `tokensPerRound` tokens are issued, then kills the broker under load. */
async function mintUntilKilled(broker: BrokerProcess, url: string, story: Story): Promise<string[]> {
  const answered: string[] = [];
  const agent = new Agent({ keepAlive: true, maxSockets: callers });
  const form = { grant_type: 'client_credentials', resource: story.resource, scope: 'read' };
  const caller = async (): Promise<void> => {
    while (broker.child.signalCode === null && broker.child.exitCode === null) {
      const answer = await call(`${url}/oauth2/token`, { basic: story.client, form, agent }).catch(
        () => undefined,
      );
      if (answer === undefined) return;
      expect(answer.status).toBe(200);
      answered.push(answer.body.access_token);
      if (answered.length === tokensPerRound) broker.child.kill('SIGKILL');
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  agent.destroy();
  await broker.exited;
  return answered;
}

describe('kill -9 while minting', () => {
  it('loses no issued token: each has its row and its audit event, over three rounds', async () => {
    const tokens: string[] = [];
    let story: Story | undefined;
    for (let round = 1; round <= 3; round += 1) {
      const { broker, url } = await start({ HALLPASS_ROLE: 'api' });
      story ??= await createStory(url, production.bootstrapKey);
      tokens.push(...(await mintUntilKilled(broker, url, story)));
    }
    expect(tokens.length).toBeGreaterThanOrEqual(3 * tokensPerRound);
    const jtis = tokens.map((token) => decodeJwt(token).jti);
    expect(new Set(jtis).size).toBe(tokens.length);
    const [kept] = await production.query<{ rows: number; events: number }>(
      `select (select count(*)::integer from tokens where jti = any($1)) as rows,
              (select count(distinct object_id)::integer from audit_events
                where type = 'token.issued' and object_id = any($1)) as events`,
      [jtis],
    );
    expect(kept).toEqual({ rows: tokens.length, events: tokens.length });
    const [all] = await production.query<{ rows: number; events: number }>(
      `select (select count(*)::integer from tokens) as rows,
              (select count(*)::integer from audit_events where type = 'token.issued') as events`,
    );
    // The audit log also has tokens whose row was written but whose response was not sent.
    expect(all?.rows).toBe(all?.events);
  });
});

describe('HALLPASS_ROLE', () => {
  it('worker runs the jobs and answers probes only, api runs none', async () => {
    const ran = (): Promise<{ name: string }[]> =>
      production.query("select name from jobs where last_finished_at is not null and name = 'expire-grants'");
    await vi.waitFor(async () => expect(await ran()).toHaveLength(1), { timeout: 60_000, interval: 200 });
    await expecting(200, call(`${workerUrl}/readyz`));
    await expect(call(`${workerUrl}/oauth2/jwks`)).resolves.toMatchObject({ status: 404 });
    worker.child.kill('SIGTERM');
    expect((await worker.exited).code).toBe(0);
    await production.query('truncate job_runs, jobs');
    const { broker, url } = await start({ HALLPASS_ROLE: 'api' });
    const jobs = await expecting(200, call(`${url}/v1/jobs`, { bearer: production.bootstrapKey }));
    expect(jobs.body.items).not.toHaveLength(0);
    // A worker creates the rows of its jobs before it reports that it listens.
    expect(await production.query('select name from jobs')).toEqual([]);
    broker.child.kill('SIGTERM');
    expect((await broker.exited).code).toBe(0);
  });
});
