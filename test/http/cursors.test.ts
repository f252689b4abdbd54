import { beforeAll, describe, expect, it } from 'vitest';
import { MasterKey } from '../../src/crypto/master-key.ts';
import { readContract } from '../../src/http/contract.ts';
import {
  type Api,
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  createTarget,
  grantRequest,
  readAtOnce,
  startBroker,
  type TestBroker,
  testMasterKey,
} from '../support/broker.ts';
import { detailsOf } from '../support/contract-requests.ts';
import { eventually } from '../support/eventually.ts';

const contract = readContract();
/**
 * Every operation of the contract that returns a list in pages. The tests call each operation with a cursor of its own list, with altered
 * copies of that cursor, and with the cursors of other lists.
 */
const lists = contract.operations
  .filter((entry) => detailsOf(contract, entry).parameters.some(({ name }) => name === 'cursor'))
  .map(({ id, path }) => ({ id, path }));

let admin: Api;
let broker: TestBroker;
const cursors = new Map<string, string>();

beforeAll(async () => {
  broker = await startBroker();
  admin = asBootstrap(broker);
  await createPolicy(broker, readAtOnce);
  await createAgent(broker);
  for (const name of ['one', 'other']) {
    const issuer = `https://${name}.example`;
    await admin.post('/v1/trusted-issuers', { name, issuer }).expect(201);
  }
  const [one, other] = [await createResource(broker), await createResource(broker)];
  const api = await (await createAgent(broker)).api();
  for (const { identifier } of [one, other])
    await api.post('/v1/grants', grantRequest(identifier)).expect(201);
  for (let i = 0; i < 2; i += 1) {
    const grant = await api
      .post('/v1/grants', grantRequest((await createTarget(broker)).identifier))
      .expect(201);
    await api.post('/v1/leases', { grant_id: grant.body.id }).expect(201);
  }
  await broker.database.owner.query(
    `insert into calls (id, request_id, at, grant_id, agent_id, token_id, resource_id, scope, method, path)
     select 'cal_01kjdw0a5vf8h8v0m6gq3r9x2' || n, 'req', now(), g.id, g.agent_id, 'tok', g.resource_id, 'read', 'GET', '/'
       from (select * from grants limit 1) g, generate_series(1, 2) n`,
  );
  for (const { path } of lists) {
    await eventually(async () => {
      const { body } = await admin.get(`${path}?limit=1`).expect(200);
      expect(body.next_cursor).toMatch(/^[\w-]+$/);
      cursors.set(path, body.next_cursor);
    });
  }
});

/** Returns copies of the cursor with one changed character each, each copy at another position. */
function altered(cursor: string): string[] {
  return [0, 10, 42, cursor.length - 2].map((at) => {
    const other = cursor.charAt(at) === 'A' ? 'B' : 'A';
    return cursor.slice(0, at) + other + cursor.slice(at + 1);
  });
}

describe.each(lists)('the cursor of $id', ({ path }) => {
  const own = (): string => cursors.get(path) ?? '';
  const refusedWith = async (cursor: string, filter = '') => {
    const { body } = await admin.get(`${path}?cursor=${encodeURIComponent(cursor)}${filter}`).expect(400);
    expect(body.code, cursor).toBe('invalid-cursor');
  };

  it('continues the list, and cannot be forged', async () => {
    await admin.get(`${path}?cursor=${own()}`).expect(200);
    const position = Buffer.from(own(), 'base64url').subarray(32).toString('base64url');
    const forged = ['x', 'bnVsbA', position, Buffer.alloc(32).toString('base64url') + position];
    for (const cursor of [...forged, ...altered(own())]) await refusedWith(cursor);
  });

  it('is accepted only complete and unchanged', async () => {
    const standard = Buffer.from(own(), 'base64url').toString('base64');
    for (const cursor of [own().slice(0, -1), own().slice(0, 43), own().slice(0, 20), own().slice(1)]) {
      await refusedWith(cursor);
    }
    for (const cursor of [`${own()}=`, `${own()} `, `${own()}.`, `${own()}A`, `${standard}==`]) {
      await refusedWith(cursor);
    }
  });

  it('is valid for this list only', async () => {
    for (const [other, cursor] of cursors) if (other !== path) await refusedWith(cursor);
  });
});

describe('the cursor of a list without filters', () => {
  it('is not valid for the list with a filter', async () => {
    const first = cursors.get('/v1/audit-events');
    await admin.get(`/v1/audit-events?type=agent.created&cursor=${first}`).expect(400);
    const grants = cursors.get('/v1/grants');
    const { body } = await admin.get(`/v1/grants?status=active&cursor=${grants}`).expect(400);
    expect(body.code).toBe('invalid-cursor');
  });
});

it('a cursor that was made under an old master key is valid as long as the broker has that key', async () => {
  const [{ path = '' } = {}] = lists;
  const masterKey = new MasterKey(Buffer.alloc(32, 7));
  const swapped = await startBroker({
    database: broker.database,
    config: { masterKey, oldMasterKeys: [testMasterKey] },
  });
  await asBootstrap(swapped)
    .get(`${path}?cursor=${cursors.get(path)}`)
    .expect(200);
});
