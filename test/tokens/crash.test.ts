import fc from 'fast-check';
import { decodeJwt } from 'jose';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { countTokens, failWrites, grantTo, permitAll, tokenOf } from '../oauth/fixtures.ts';
import {
  asBootstrap,
  createAgent,
  createPerson,
  createPolicy,
  createResource,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import { parallel, tally } from '../support/count.ts';
import { FakeClock } from '../support/fake-clock.ts';

let broker: TestBroker;
let owner: string;
const clock = new FakeClock();

beforeAll(async () => {
  broker = await startBroker({ clock });
  await createPolicy(broker, permitAll);
  owner = (await createPerson(broker)).id;
});

const readOf = (resource: { identifier: string }) => ({ resource: resource.identifier, scope: 'read' });

/** Counts the rows and the events of the tokens with these ids. */
async function recordedOf(jtis: unknown[]): Promise<{ rows: number; events: number }> {
  const { rows } = await broker.database.owner.query(
    `select (select count(*)::integer from tokens where jti = any($1)) as rows,
            (select count(*)::integer from audit_events where type = 'token.issued' and object_id = any($1)) as events`,
    [jtis],
  );
  return rows[0];
}

describe('no token is returned before its row and its event are durable', () => {
  let agent: TestAgent;
  let resource: { id: string; identifier: string };
  beforeEach(async () => {
    agent = await createAgent(broker, { owner });
    resource = await createResource(broker);
    await grantTo(agent, resource, { duration_seconds: 7200 });
  });

  it.each([
    ['event', 'insert on audit_events', "new.type = 'token.issued'"],
    ['row', 'insert on tokens', 'true'],
  ])('the %s cannot be written: 503, and there is neither', async (_, write, when) => {
    const before = await countTokens(broker.database);
    const repair = await failWrites(broker.database, write, when);
    try {
      for (const form of [readOf(resource), {}]) {
        const { body, headers } = await agent.token(form).expect(503);
        expect(body).toEqual({ error: 'temporarily_unavailable', error_description: expect.any(String) });
        expect(headers).toMatchObject({ 'cache-control': 'no-store', 'retry-after': '1' });
      }
      expect(await countTokens(broker.database)).toBe(before);
    } finally {
      await repair();
    }
    await agent.token(readOf(resource)).expect(200);
  });

  it('a refusal whose audit event cannot be written is answered with 503', async () => {
    const repair = await failWrites(broker.database, 'insert on audit_events', "new.type = 'token.refused'");
    try {
      const { body } = await agent.token({ scope: 'read' }).expect(503);
      expect(body.error).toBe('temporarily_unavailable');
    } finally {
      await repair();
    }
    await agent.token({ scope: 'read' }).expect(400);
  });

  it('one row that cannot be written does not affect the other rows of its batch', async () => {
    const agents = await parallel(20, () => createAgent(broker, { owner }));
    for (const other of agents) await other.token().expect(200);
    const [poisoned] = agents;
    const when = `new.type = 'token.issued' and new.agent_id = '${poisoned?.id}'`;
    const repair = await failWrites(broker.database, 'insert on audit_events', when);
    try {
      for (let round = 0; round < 3; round += 1) {
        const answers = await Promise.all(agents.map((other) => other.token()));
        expect(answers.map(({ status }) => status)).toEqual(
          agents.map((other) => (other === poisoned ? 503 : 200)),
        );
        const jtis = answers.slice(1).map(({ body }) => decodeJwt(body.access_token).jti);
        expect(await recordedOf(jtis)).toEqual({ rows: 19, events: 19 });
      }
    } finally {
      await repair();
    }
  });

  it('each of 200 tokens that are requested at once has its own row and its own event', async () => {
    const answers = await parallel(200, (i) => agent.token(i % 2 === 0 ? readOf(resource) : {}));
    expect(tally(answers)).toEqual({ 200: 200 });
    const jtis = new Set(answers.map(({ body }) => decodeJwt(body.access_token).jti));
    expect(jtis.size).toBe(200);
    expect(await recordedOf([...jtis])).toEqual({ rows: 200, events: 200 });
  });
});

describe('a token never exceeds its grant', () => {
  it('it expires no later than its grant and its agent, whenever it is requested, and has no further scope', async () => {
    const resource = await createResource(broker, { token_ttl_seconds: 600 });
    const names = ['read', 'write', 'admin'];
    const moment = fc.record({
      duration: fc.integer({ min: 1, max: 1500 }),
      wait: fc.integer({ min: 0, max: 1_600_000 }).map((ms) => ms / 1000),
      granted: fc.subarray(names, { minLength: 1 }),
      asked: fc.option(fc.subarray(names, { minLength: 1 }), { nil: undefined }),
      agentLife: fc.option(fc.integer({ min: 1, max: 1500 })),
    });
    const at = (seconds: number): string => new Date(clock.now().getTime() + seconds * 1000).toISOString();
    await fc.assert(
      fc.asyncProperty(moment, async ({ duration, wait, granted, asked, agentLife }) => {
        const expiry = agentLife === null ? {} : { expires_at: at(agentLife) };
        const agent = await createAgent(broker, { owner, ...expiry });
        const request = { scopes: granted, duration_seconds: duration };
        const grantId = await grantTo(agent, resource, request);
        const grant = (await asBootstrap(broker).get(`/v1/grants/${grantId}`)).body;
        clock.advance(wait);
        const scope = asked === undefined ? {} : { scope: asked.join(' ') };
        const { status, body } = await agent.token({ resource: resource.identifier, ...scope });
        const left = new Date(grant.expires_at).getTime() - clock.now().getTime();
        const covered = asked?.every((one) => granted.includes(one)) ?? true;
        if (left <= 0 || !covered) expect([400, 401]).toContain(status);
        else if (left > 1000) expect(status).toBe(200);
        if (status !== 200) return;
        const { exp = 0, iat = 0, scope: got } = decodeJwt(body.access_token);
        expect(exp).toBeGreaterThan(iat);
        expect(exp - iat).toBeLessThanOrEqual(600);
        expect(exp * 1000).toBeLessThanOrEqual(new Date(grant.expires_at).getTime());
        if (agentLife !== null)
          expect(exp * 1000).toBeLessThanOrEqual(new Date(expiry.expires_at ?? '').getTime());
        expect(String(got).split(' ')).toEqual(asked ?? granted);
      }),
      { numRuns: 50 },
    );
  });
});

describe('a missing partition', () => {
  it('is created by the first token that needs it', async () => {
    const late = new FakeClock();
    const own = await startBroker({ clock: late });
    const agent = await createAgent(own);
    late.advance(60 * 24 * 3600);
    const answers = await parallel(20, () => agent.token());
    expect(tally(answers)).toEqual({ 200: 20 });
    late.advance(60 * 24 * 3600);
    expect(decodeJwt(await tokenOf(agent)).iat).toBe(Math.floor(late.now().getTime() / 1000));
  });
});
