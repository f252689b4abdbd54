import { beforeAll, describe, expect, it } from 'vitest';
import { startBroker, type TestBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type Answer, send, type WireRequest } from '../support/http.ts';
import { dumpTables } from '../support/table-dump.ts';
import { createWorld, mutationIds, validRequest } from '../support/valid-requests.ts';
import { type Variant, variantNames, variantRequest } from '../support/variant-requests.ts';

/**
 * Every change needs its audit events: here the audit log accepts a limited number of events and refuses further ones,
 * and a request whose events do not all fit must change nothing.
 */
const clock = new FakeClock();
let broker: TestBroker;
const requests = new Map<string, Variant>();

// The functions are in their own schema, because a dump contains everything that requests can change. A sequence also
// counts events that are rolled back.
const createTrigger = `
  create schema faults;
  create table faults.event_limit as select 'infinity'::float8 as events;
  create sequence faults.tried;
  create function faults.refuse_events() returns trigger language plpgsql security definer as $$
  begin
    if nextval('faults.tried') > (select events from faults.event_limit) then raise exception 'the audit log is full'; end if;
    return new;
  end $$;
  create trigger refuse_events before insert on audit_events for each row execute function faults.refuse_events()`;

beforeAll(async () => {
  broker = await startBroker({ clock });
  await broker.worker.register();
  clock.advance(600);
  await broker.database.owner.query(createTrigger);
  const world = { ...(await createWorld(broker)), clock };
  for (const id of mutationIds) {
    const wire = await validRequest(world, id);
    // A lease is recorded before its account is made, so that the account is destroyed if the lease does not become active.
    const keeps = id === 'createLease' ? ['audit_events', 'leases'] : [];
    requests.set(id, { request: async () => wire, keeps });
  }
  for (const name of variantNames) requests.set(name, await variantRequest(world, name));
});

/**
 * Sends a request while the audit log accepts a limited number of events. Returns the response, and whether an event
 * was refused.
 */
async function sendWithLimit(
  events: number,
  wire: WireRequest,
): Promise<{ answer: Answer; isRefused: boolean }> {
  const { owner } = broker.database;
  await owner.query("select setval('faults.tried', 1, false)");
  await owner.query('update faults.event_limit set events = $1', [events]);
  try {
    const answer = await send(broker, wire);
    const { rows } = await owner.query(
      'select is_called and last_value > events as full from faults.tried, faults.event_limit',
    );
    return { answer, isRefused: rows[0].full };
  } finally {
    await owner.query("update faults.event_limit set events = 'infinity'");
  }
}

function expectUnavailable({ status, headers, json, text }: Answer): void {
  expect(status, text).toBe(503);
  expect(headers['retry-after']).toBe('1');
  expect(json.code ?? json.error).toMatch(/^(unavailable|temporarily_unavailable)$/);
  expect(text).not.toMatch(/hp[asr]_|eyJ|log is full/);
}

/** Returns the tables of the rows that a dump has and an earlier one does not have, sorted. */
function changedTables(dump: string, before: string): string[] {
  const known = new Set(before.split('\n'));
  const rows = dump.split('\n').filter((line) => !known.has(line));
  return rows.map((line) => line.slice(0, line.indexOf(' '))).sort();
}

const isEvent = (table: string): boolean => table === 'audit_events';

/** Counts the grants that are written as ended, the events of their ends, and the endings that are still queued. */
async function readEnds(): Promise<{ grants: number; events: number; queued: number }> {
  const { rows } = await broker.database.owner.query(
    `select (select count(*)::integer from grants where ending_id is not null) as grants,
            (select count(*)::integer from audit_events e join grants g on g.id = e.grant_id
              where g.ending_id is not null and e.type = 'grant.' || g.status) as events,
            (select count(*)::integer from grant_endings) as queued`,
  );
  return rows[0];
}

/**
 * Asserts that the delegated grants that a successful change ended are written as ended only together with their events,
 * once these can be written. Readers see the grants as inactive at once.
 */
async function expectSettledLater(): Promise<void> {
  const before = await readEnds();
  expect(before.queued).toBe(1);
  expect(before.events).toBe(before.grants);
  clock.advance(10);
  await broker.worker.runNow('expire-grants', clock.now());
  const after = await readEnds();
  expect(after.queued).toBe(0);
  expect(after.grants).toBeGreaterThan(before.grants);
  expect(after.events).toBe(after.grants);
}

// A password that the target has already stays there: test/leases/password-rotation.test.ts has this case.
const tested = [...mutationIds.filter((id) => id !== 'rotateTargetPassword'), ...variantNames];

describe.each(tested)('%s', (name) => {
  it('changes nothing and reveals nothing while one of its events cannot be written, and succeeds when all can', async () => {
    const { request, uses = 0, keeps = [] } = requests.get(name) as Variant;
    const { owner } = broker.database;
    const used = Array<string>(uses).fill('used_values');
    for (let limit = 0; ; limit += 1) {
      const before = await dumpTables(owner);
      const { answer, isRefused } = await sendWithLimit(limit, await request());
      const after = await dumpTables(owner);
      const changed = changedTables(after, before);
      if (!isRefused) {
        expect(answer.status, answer.text).toBeLessThan(300);
        expect(changed.filter(isEvent).length).toBeGreaterThan(0);
        return;
      }
      if (answer.status < 300) return expectSettledLater();
      expectUnavailable(answer);
      const isKept = limit > 0 && limit === keeps.filter(isEvent).length;
      const expected = isKept ? [...keeps, ...used] : used;
      expect(changed).toEqual(expected);
      if (expected.length === 0) expect(after).toBe(before);
    }
  });
});

describe('a refusal', () => {
  it('is not sent if its event cannot be written: the caller is asked to retry', async () => {
    const { headers } = await (requests.get('createGrant') as Variant).request();
    const { answer } = await sendWithLimit(0, { method: 'GET', path: '/v1/admins', headers });
    expect(answer.json).toMatchObject({ status: 503, code: 'unavailable' });
  });
});
