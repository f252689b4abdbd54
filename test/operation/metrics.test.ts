import { beforeAll, describe, expect, it } from 'vitest';
import {
  apiOf,
  createAgent,
  createPerson,
  createPolicy,
  createResource,
  grantRequest,
  readAtOnce,
  startBroker,
  type TestBroker,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { readMetrics } from '../support/metrics.ts';

const clock = new FakeClock();
let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker({ clock });
  await createPolicy(broker, readAtOnce);
  await createPerson(broker, { roles: ['approver'] });
});

const scrape = () => readMetrics(broker.metrics);

describe('metrics', () => {
  it('count requests, tokens by outcome and open grants by current status, and show sweep lag, pools and jobs', async () => {
    const agent = await createAgent(broker);
    const resource = await createResource(broker);
    const api = await agent.api();
    await api.post('/v1/grants', grantRequest(resource.identifier)).expect(201);
    await api.post('/v1/grants', grantRequest(resource.identifier, { duration_seconds: 3600 })).expect(201);
    await api.post('/v1/grants', grantRequest(resource.identifier, { scopes: ['write'] })).expect(202);
    await agent.token({ resource: resource.identifier, scope: 'read' }).expect(200);
    await agent.token({ resource: resource.identifier, scope: 'admin' }).expect(400);
    await apiOf(broker, undefined).get('/nothing').expect(404);
    clock.advance(605);
    const before = await scrape();
    const of = (name: string) => before.get(name);
    expect(of('hallpass_http_requests_total{operation="createGrant",status="201"}')).toBe(2);
    expect(of('hallpass_http_requests_total{operation="unmatched",status="404"}')).toBe(1);
    expect(of('hallpass_oauth_answers_total{operation="issueToken",outcome="success"}')).toBe(2);
    expect(of('hallpass_oauth_answers_total{operation="issueToken",outcome="invalid-scope"}')).toBe(1);
    expect(of('hallpass_grants{status="active"}')).toBe(1);
    expect(of('hallpass_grants{status="expired"}')).toBe(1);
    expect(of('hallpass_grants{status="pending"}')).toBe(1);
    expect(of('hallpass_sweep_lag_seconds')).toBe(5);
    expect(of('hallpass_db_connections{pool="tokens",state="waiting"}')).toBe(0);
    expect(of('hallpass_database_up')).toBe(1);
    expect(of('hallpass_job_last_success_timestamp_seconds{job="expire-grants"}')).toBeUndefined();
    for (const alg of ['ES256', 'RS256', 'EdDSA']) {
      // The fake clock has advanced by 605 s since the start that created the keys.
      const activated = of(`hallpass_signing_key_activated_timestamp_seconds{alg="${alg}"}`);
      expect(activated).toBe(clock.now().getTime() / 1000 - 605);
    }
    expect(before.has('nodejs_eventloop_lag_seconds')).toBe(true);

    await broker.worker.register();
    await broker.worker.runNow('expire-grants', clock.now());
    const soon = await scrape();
    expect(soon.get('hallpass_sweep_lag_seconds')).toBe(0);
    // Grants are counted at most every 30 s, because a count reads every open grant.
    expect(soon.get('hallpass_grants{status="expired"}')).toBe(1);
    clock.advance(30);
    const after = await scrape();
    expect(after.get('hallpass_job_runs_total{job="expire-grants",outcome="done"}')).toBe(1);
    expect(after.get('hallpass_job_rows_total{job="expire-grants"}')).toBe(1);
    expect(after.get('hallpass_job_last_success_timestamp_seconds{job="expire-grants"}')).toBeGreaterThan(0);
    expect(after.get('hallpass_grants{status="expired"}')).toBeUndefined();
    expect(after.get('hallpass_sweep_lag_seconds')).toBe(0);
  });

  it('show how long the oldest queued ending has waited', async () => {
    expect((await scrape()).get('hallpass_ending_lag_seconds')).toBe(0);
    await broker.database.owner.query(
      `insert into grant_endings (id, kind, subject_id, reason, at, actor_kind, actor_id, next_attempt_at)
       values ('gre_test', 'agent', 'agt_test', 'test', $1, 'system', 'test', $1)`,
      [new Date(clock.now().getTime() - 7_000)],
    );
    expect((await scrape()).get('hallpass_ending_lag_seconds')).toBe(7);
    await broker.worker.runNow('expire-grants', clock.now());
    expect((await scrape()).get('hallpass_ending_lag_seconds')).toBe(0);
  });

  it('have no label whose value a caller could choose', async () => {
    for (let i = 0; i < 5; i += 1) await apiOf(broker, undefined).get(`/made-up-${i}`).expect(404);
    const names = [...(await scrape()).keys()];
    expect(names.filter((name) => name.includes('made-up'))).toEqual([]);
  });
});
