import { beforeAll, describe, expect, it } from 'vitest';
import { startBroker, type TestBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type Answer, send, type WireRequest } from '../support/http.ts';
import { dumpTables } from '../support/table-dump.ts';
import { createWorld, type MutationId, mutationIds, validRequest } from '../support/valid-requests.ts';

/** No audit, no change: the record cannot be written while the trigger is on. */
let broker: TestBroker;
const requests = new Map<MutationId, WireRequest>();

const createTrigger = `
  create function refuse_events() returns trigger language plpgsql as $$
  begin raise exception 'the record is full'; end $$;
  create trigger refuse_events before insert on audit_events for each row execute function refuse_events();
  alter table audit_events disable trigger refuse_events`;
const turn = (state: 'enable' | 'disable') =>
  broker.database.owner.query(`alter table audit_events ${state} trigger refuse_events`);

beforeAll(async () => {
  const clock = new FakeClock();
  broker = await startBroker({ clock });
  clock.advance(600);
  await broker.database.owner.query(createTrigger);
  const world = await createWorld(broker);
  for (const id of mutationIds) requests.set(id, await validRequest(world, id));
});

async function unrecorded(wire: WireRequest): Promise<Answer> {
  await turn('enable');
  try {
    return await send(broker, wire);
  } finally {
    await turn('disable');
  }
}

describe.each(mutationIds)('%s', (id) => {
  it('changes nothing and tells nothing while its event cannot be written, and succeeds when it can', async () => {
    const wire = requests.get(id);
    if (wire === undefined) throw new Error(`no request for ${id}`);
    const before = await dumpTables(broker.database.owner);
    const refused = await unrecorded(wire);
    expect(refused.status, refused.text).toBe(503);
    expect(refused.headers['retry-after']).toBe('1');
    expect(refused.json.code ?? refused.json.error).toMatch(/^(unavailable|temporarily_unavailable)$/);
    expect(refused.text).not.toMatch(/hp[asr]_|eyJ|record is full/);
    expect(await dumpTables(broker.database.owner)).toBe(before);
    const answer = await send(broker, wire);
    expect(answer.status, answer.text).toBeLessThan(300);
    expect(await dumpTables(broker.database.owner)).not.toBe(before);
  });
});

describe('a refusal', () => {
  it('that cannot be recorded is not told: the caller is asked to come again', async () => {
    const { json } = await unrecorded({
      method: 'GET',
      path: '/v1/admins',
      headers: requests.get('createGrant')?.headers ?? {},
    });
    expect(json).toMatchObject({ status: 503, code: 'unavailable' });
  });
});
