import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
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

const clock = new FakeClock();
let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker({ clock });
  await createPolicy(broker, readAtOnce);
  await createPerson(broker, { roles: ['approver'] });
});

/** The samples of a scrape, `name{labels}` to value. */
async function scrape(): Promise<Map<string, number>> {
  const server = createServer(broker.metrics);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/metrics`);
  const text = await response.text();
  server.closeAllConnections();
  server.close();
  expect(response.headers.get('content-type')).toContain('text/plain');
  const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(samples.map((line) => [line.replace(/ [^ ]+$/, ''), Number(line.split(' ').at(-1))]));
}

describe('metrics', () => {
  it('tell requests, tokens by outcome, open grants by what they are now, sweep lag, pools and jobs', async () => {
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
      // The fake clock has gone on for 605 s since the start that made them.
      const activated = of(`hallpass_signing_key_activated_timestamp_seconds{alg="${alg}"}`);
      expect(activated).toBe(clock.now().getTime() / 1000 - 605);
    }
    expect(before.has('nodejs_eventloop_lag_seconds')).toBe(true);

    await broker.worker.register();
    await broker.worker.runNow('expire-grants', clock.now());
    const soon = await scrape();
    expect(soon.get('hallpass_sweep_lag_seconds')).toBe(0);
    // Counted anew only after a while: it takes reading every open grant.
    expect(soon.get('hallpass_grants{status="expired"}')).toBe(1);
    clock.advance(30);
    const after = await scrape();
    expect(after.get('hallpass_job_runs_total{job="expire-grants",outcome="done"}')).toBe(1);
    expect(after.get('hallpass_job_rows_total{job="expire-grants"}')).toBe(1);
    expect(after.get('hallpass_job_last_success_timestamp_seconds{job="expire-grants"}')).toBeGreaterThan(0);
    expect(after.get('hallpass_grants{status="expired"}')).toBeUndefined();
    expect(after.get('hallpass_sweep_lag_seconds')).toBe(0);
  });

  it('have no label that a caller could make up', async () => {
    for (let i = 0; i < 5; i += 1) await apiOf(broker, undefined).get(`/made-up-${i}`).expect(404);
    const names = [...(await scrape()).keys()];
    expect(names.filter((name) => name.includes('made-up'))).toEqual([]);
  });
});
