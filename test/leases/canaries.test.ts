import { beforeAll, describe, expect, it } from 'vitest';
import { TargetFailure } from '../../src/engines/target-failure.ts';
import { createLog } from '../../src/platform/log.ts';
import { failWrites } from '../oauth/fixtures.ts';
import { dumpTables } from '../support/table-dump.ts';
import {
  adminPassword,
  connection,
  createTargetAndGrant,
  endDue,
  endFor,
  runJob,
  type Scene,
  startScene,
  targetBody,
} from './scene.ts';

const lines: string[] = [];
/** Every answer but the one that shows a credential. */
const answers: string[] = [];
const statements: string[] = [];
const secrets: string[] = [adminPassword];
let scene: Scene;

async function collect(call: PromiseLike<{ text: string; headers: unknown }>): Promise<void> {
  const { text, headers } = await call;
  answers.push(text, JSON.stringify(headers));
  const { rows } = await scene.broker.database.owner.query('select query from pg_stat_activity');
  statements.push(...rows.map(({ query }) => String(query)));
}

/** Returns the secrets that a text has, in any form in which one could appear. */
function found(text: string): string[] {
  return secrets.filter((secret) =>
    [
      secret,
      encodeURIComponent(secret),
      Buffer.from(secret).toString('base64'),
      Buffer.from(secret).toString('hex'),
    ].some((form) => text.includes(form)),
  );
}

async function makeLease(grant: { id: string }, key: string) {
  const api = await scene.as();
  const { status, body } = await api.post('/v1/leases', { grant_id: grant.id }).set('Idempotency-Key', key);
  expect(status).toBe(201);
  secrets.push(body.credential.password);
  await collect(api.post('/v1/leases', { grant_id: grant.id }).set('Idempotency-Key', key));
  return body;
}

/** Uses a lease and its target, with success and with every kind of failure. */
async function fail({ grant, resource }: Awaited<ReturnType<typeof createTargetAndGrant>>): Promise<void> {
  const { faults } = scene.server;
  const lease = await makeLease(grant, 'one');
  const stuck = await makeLease(grant, 'two');
  const api = await scene.as();
  faults.isUnreachable = true;
  await collect(api.post('/v1/leases', { grant_id: grant.id }));
  await collect(api.post(`/v1/leases/${lease.id}/renew`));
  await collect(scene.admin.post('/v1/resources', targetBody()));
  await collect(scene.admin.post(`/v1/resources/${resource.id}/preflight`));
  await collect(scene.admin.post(`/v1/leases/${lease.id}/revoke`));
  await endFor(scene, 5);
  faults.isUnreachable = false;
  await collect(scene.admin.post(`/v1/resources/${resource.id}/preflight`));
  for (const call of ['create', 'endSessions'] as const) faults.missingPrivilege.add(call);
  await collect(scene.admin.post('/v1/resources', targetBody()));
  await collect(scene.admin.patch(`/v1/resources/${resource.id}`, { connection }));
  faults.missingPrivilege.clear();
  faults.stuck.set(stuck.account_name, new TargetFailure('refused', 'no'));
  await collect(scene.admin.post(`/v1/leases/${stuck.id}/revoke`));
  await endFor(scene, 5);
  const current = await scene.as();
  for (const table of ['audit_events', 'preflights', 'connections', 'leases']) {
    const undo = await failWrites(scene.broker.database, `insert on ${table}`, 'true');
    await collect(scene.admin.post('/v1/resources', targetBody()));
    await collect(current.post('/v1/leases', { grant_id: grant.id }));
    await undo();
  }
}

beforeAll(async () => {
  scene = await startScene({ log: createLog('debug', { write: (line) => lines.push(line) }) });
  const target = await createTargetAndGrant(scene, { durationSeconds: 7200 });
  await fail(target);
  // Another password of the admin account: the target refuses the one that the broker has.
  scene.server.adminPassword = 'another password of the admin account';
  secrets.push(scene.server.adminPassword);
  await collect(scene.admin.post(`/v1/resources/${target.resource.id}/preflight`));
  scene.server.adminPassword = adminPassword;
  await runJob(scene, 'clean-up-targets');
  await endDue(scene);
  for (const path of ['/v1/leases', '/v1/resources', '/v1/audit-events?limit=200']) {
    await collect(scene.admin.get(path));
  }
});

describe('the password of an admin account or of a lease', () => {
  it('is found by this search where it is', () => {
    expect(secrets).toHaveLength(4);
    for (const secret of secrets) expect(found(`x${secret}x`)).toEqual([secret]);
  });

  it('is in no log line', () => {
    const log = lines.join('');
    expect(log).toContain('createLease');
    expect(log).toContain('a call to a target failed');
    expect(log).toMatch(/"level":50/);
    expect(found(log)).toEqual([]);
  });

  it('is in no answer but the one that makes the lease', () => {
    expect(answers.length).toBeGreaterThan(30);
    expect(answers.join('\n')).toContain('target-unavailable');
    expect(found(answers.join('\n'))).toEqual([]);
  });

  it('is in no statement that the database server shows, and in no column', async () => {
    expect(found(statements.join('\n'))).toEqual([]);
    const dump = await dumpTables(scene.broker.database.owner);
    for (const table of ['leases', 'connections', 'preflights', 'audit_events']) {
      expect(dump).toMatch(new RegExp(`^${table} `, 'm'));
    }
    expect(found(dump)).toEqual([]);
  });
});
