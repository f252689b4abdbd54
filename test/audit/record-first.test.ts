import { beforeAll, describe, expect, it } from 'vitest';
import { startBroker, type TestBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type Answer, send, type WireRequest } from '../support/http.ts';
import { dumpTables } from '../support/table-dump.ts';
import { createWorld, mutationIds, validRequest } from '../support/valid-requests.ts';
import { type Variant, variantNames, variantRequest } from '../support/variant-requests.ts';

/** No audit, no change: the record takes as many events as there is room for, and refuses all that follow. */
let broker: TestBroker;
const requests = new Map<string, Variant>();

// In a schema of its own, since a dump is of everything that requests can change. A sequence counts what is rolled back, too.
const createTrigger = `
  create schema faults;
  create table faults.room as select 'infinity'::float8 as events;
  create sequence faults.tried;
  create function faults.refuse_events() returns trigger language plpgsql security definer as $$
  begin
    if nextval('faults.tried') > (select events from faults.room) then raise exception 'the record is full'; end if;
    return new;
  end $$;
  create trigger refuse_events before insert on audit_events for each row execute function faults.refuse_events()`;

beforeAll(async () => {
  const clock = new FakeClock();
  broker = await startBroker({ clock });
  clock.advance(600);
  await broker.database.owner.query(createTrigger);
  const world = { ...(await createWorld(broker)), clock };
  for (const id of mutationIds) {
    const wire = await validRequest(world, id);
    requests.set(id, { request: async () => wire });
  }
  for (const name of variantNames) requests.set(name, await variantRequest(world, name));
});

/** What a request is answered while there is room for so many events, and whether it wanted more. */
async function sendWithRoom(events: number, wire: WireRequest): Promise<{ answer: Answer; isFull: boolean }> {
  const { owner } = broker.database;
  await owner.query("select setval('faults.tried', 1, false)");
  await owner.query('update faults.room set events = $1', [events]);
  try {
    const answer = await send(broker, wire);
    const { rows } = await owner.query(
      'select is_called and last_value > events as full from faults.tried, faults.room',
    );
    return { answer, isFull: rows[0].full };
  } finally {
    await owner.query("update faults.room set events = 'infinity'");
  }
}

function expectUnavailable({ status, headers, json, text }: Answer): void {
  expect(status, text).toBe(503);
  expect(headers['retry-after']).toBe('1');
  expect(json.code ?? json.error).toMatch(/^(unavailable|temporarily_unavailable)$/);
  expect(text).not.toMatch(/hp[asr]_|eyJ|record is full/);
}

/** Of which tables the rows of a dump are that were not there before, in order. */
function changedTables(dump: string, before: string): string[] {
  const known = new Set(before.split('\n'));
  const rows = dump.split('\n').filter((line) => !known.has(line));
  return rows.map((line) => line.slice(0, line.indexOf(' '))).sort();
}

const isEvent = (table: string): boolean => table === 'audit_events';

describe.each([...mutationIds, ...variantNames])('%s', (name) => {
  it('changes nothing and tells nothing while any of its events cannot be written, and succeeds when all can', async () => {
    const { request, uses = 0, keeps = [] } = requests.get(name) as Variant;
    const { owner } = broker.database;
    const used = Array<string>(uses).fill('used_values');
    for (let room = 0; ; room += 1) {
      const before = await dumpTables(owner);
      const { answer, isFull } = await sendWithRoom(room, await request());
      const after = await dumpTables(owner);
      const changed = changedTables(after, before);
      if (!isFull) {
        expect(answer.status, answer.text).toBeLessThan(300);
        expect(changed.filter(isEvent).length).toBeGreaterThan(0);
        return;
      }
      expectUnavailable(answer);
      const isKept = room > 0 && room === keeps.filter(isEvent).length;
      const expected = isKept ? [...keeps, ...used] : used;
      expect(changed).toEqual(expected);
      if (expected.length === 0) expect(after).toBe(before);
    }
  });
});

describe('a refusal', () => {
  it('that cannot be recorded is not told: the caller is asked to come again', async () => {
    const { headers } = await (requests.get('createGrant') as Variant).request();
    const { answer } = await sendWithRoom(0, { method: 'GET', path: '/v1/admins', headers });
    expect(answer.json).toMatchObject({ status: 503, code: 'unavailable' });
  });
});
