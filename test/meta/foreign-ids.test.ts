import { beforeAll, describe, expect, it } from 'vitest';
import { access } from '../../src/http/access.ts';
import { isRouted, type RoutedEntry, readContract } from '../../src/http/contract.ts';
import { permitAll } from '../oauth/fixtures.ts';
import {
  apiOf,
  asBootstrap,
  bootstrapKey,
  createAgent,
  createPerson,
  createPolicy,
  createResource,
  createTarget,
  createUpstream,
  grantRequest,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';
import {
  detailsOf,
  exampleRequest,
  type OperationDetails,
  type Parameter,
} from '../support/contract-requests.ts';
import { type Answer, bearer, send } from '../support/http.ts';
import { dumpTables } from '../support/table-dump.ts';

/**
 * Calls every operation of the contract that has an id with ids of objects that are not the caller's, and with
 * ids that do not exist. The responses are the same, so that an id reveals nothing and gives no access.
 */
const contract = readContract();
const named = (details: OperationDetails, place: Parameter['in']): string[] =>
  details.parameters.filter((one) => one.in === place && /_id$/.test(one.name)).map(({ name }) => name);
const operations = contract.operations.filter(isRouted).map((entry) => detailsOf(contract, entry));
const byPath = operations
  .filter(({ entry }) => entry.path.includes('{'))
  .map((details) => ({ id: details.entry.id, params: named(details, 'path'), details }));
const byQuery = operations.flatMap((details) =>
  named(details, 'query').map((name) => ({ id: details.entry.id, name, details })),
);

let broker: TestBroker;
/** Objects that belong to others than the callers below: ids by the name of the parameter. */
let foreign: Record<string, string[]>;
/** The existing parents of nested ids, which do not contain the foreign objects. */
let parents: Record<string, string>;
const credentials = new Map<string, string>();
let ownGrant: string;

beforeAll(async () => {
  broker = await startBroker();
  const admin = asBootstrap(broker);
  await createPolicy(broker, permitAll);
  const policy = await createPolicy(
    broker,
    'forbid(principal, action == Action::"request", resource) when { context.max_risk == "high" } unless { context.approvals >= 1 };',
  );
  for (const role of ['admin', 'approver', 'auditor'])
    credentials.set(role, (await createPerson(broker, { roles: [role] })).key);
  credentials.set('person', (await createPerson(broker)).key);
  const [mine, theirs] = [await createAgent(broker), await createAgent(broker)];
  const [resource, otherResource] = [await createResource(broker), await createResource(broker)];
  const request = async (agent: typeof mine, scope: string): Promise<string> => {
    const api = await agent.api();
    return (await api.post('/v1/grants', grantRequest(resource.identifier, { scopes: [scope] }))).body.id;
  };
  credentials.set('agent', (await mine.token().expect(200)).body.access_token);
  ownGrant = await request(mine, 'admin');
  const trusted = await admin.post('/v1/trusted-issuers', { name: 'CI', issuer: 'https://ci.example' });
  const someone = await createPerson(broker);
  const secretOf = async (path: string): Promise<string> => {
    await admin.post(`${path}/secrets`).expect(201);
    return (await admin.get(path).expect(200)).body.secrets[0].id;
  };
  foreign = {
    agent_id: [theirs.id],
    grant_id: [await request(theirs, 'admin'), await request(theirs, 'read')],
    resource_id: [resource.id],
    policy_id: [policy],
    lease_id: [await leaseOf(broker, theirs)],
    trusted_issuer_id: [trusted.body.id],
    admin_id: [someone.id],
    key_id: (await admin.get(`/v1/admins/${someone.id}`).expect(200)).body.keys.map(
      (key: { id: string }) => key.id,
    ),
    upstream_credential_id: [
      (await admin.get(`/v1/resources/${(await createUpstream(broker)).id}`).expect(200)).body
        .upstream_credentials[0].id,
    ],
    secret_id: [await secretOf(`/v1/agents/${theirs.id}`), await secretOf(`/v1/resources/${resource.id}`)],
  };
  parents = {
    agent_id: mine.id,
    resource_id: otherResource.id,
    admin_id: (await createPerson(broker)).id,
  };
});

/** Makes a lease of an agent. Returns its id. */
async function leaseOf(target: TestBroker, agent: TestAgent): Promise<string> {
  const { identifier } = await createTarget(target);
  const api = await agent.api();
  const grant = await api.post('/v1/grants', grantRequest(identifier)).expect(201);
  return (await api.post('/v1/leases', { grant_id: grant.body.id }).expect(201)).body.id;
}

const allowed = (details: OperationDetails): readonly string[] => access[(details.entry as RoutedEntry).id];

/** Callers who may call the operation, but see only their own objects. */
const limited = (details: OperationDetails): string[] =>
  ['agent', 'person'].filter((caller) => allowed(details).includes(caller));
const all = ['agent', 'person', 'admin', 'approver', 'auditor'];
const refused = (details: OperationDetails): string[] =>
  all.filter(
    (caller) =>
      !allowed(details).includes(caller) && (caller === 'agent' || !allowed(details).includes('person')),
  );

function ask(details: OperationDetails, caller: string, ids: Record<string, string>): Promise<Answer> {
  const example = exampleRequest(details);
  const path = Object.entries(ids).reduce(
    (text, [name, id]) => text.replace(`{${name}}`, id),
    details.entry.path,
  );
  // A parameter that is not given has an id that never existed.
  const whole = path.includes('{') ? fill(path, example.path) : path;
  const headers = { ...example.headers, ...bearer(credentials.get(caller)) };
  return send(broker, { ...example, path: whole, headers });
}

/** Replaces the parameters of `path` by the segments of `example`. */
function fill(path: string, example: string): string {
  const segments = example.split('/');
  return path
    .split('/')
    .map((segment, index) => (segment.startsWith('{') ? (segments[index] ?? segment) : segment))
    .join('/');
}

/** Returns everything that a caller could learn from a response. */
function visibleParts({ status, headers, json }: Answer) {
  const { request_id: _, ...rest } = json;
  return { status, headers: Object.keys(headers).sort(), json: rest };
}

async function expectAlike(answers: Answer[], status: number): Promise<void> {
  for (const answer of answers) {
    expect(answer.status, answer.text).toBe(status);
    expect(visibleParts(answer)).toEqual(visibleParts(answers[0] as Answer));
  }
}

/** Dumps everything but the audit log, which records the refusals. */
const dumpObjects = async (): Promise<string[]> =>
  (await dumpTables(broker.database.owner)).split('\n').filter((line) => !line.startsWith('audit_events '));

it('each kind of id in a path of the contract has a foreign object here', () => {
  expect(byPath.length).toBeGreaterThan(20);
  const kinds = new Set(byPath.flatMap(({ params }) => params));
  expect([...kinds].sort()).toEqual(Object.keys(foreign).sort());
  for (const { details, params } of byPath) {
    expect(params.length, details.entry.path).toBe(details.entry.path.split('{').length - 1);
  }
});

describe.each(byPath)('$id', ({ details, params }) => {
  const [first = '', nested] = params;

  it('responds with 404 for an id that does not exist, to everyone who may call it', async () => {
    for (const caller of all.filter((one) => !refused(details).includes(one))) {
      await expectAlike([await ask(details, caller, {})], 404);
    }
  });

  it('responds the same for another caller’s object, and does not change it', async () => {
    const before = await dumpObjects();
    for (const caller of limited(details)) {
      const theirs = await Promise.all(
        (foreign[first] ?? []).map((id) => ask(details, caller, { [first]: id })),
      );
      await expectAlike([await ask(details, caller, {}), ...theirs], 404);
    }
    if (nested !== undefined) {
      const parent = { [first]: parents[first] ?? '' };
      const elsewhere = (foreign[nested] ?? []).map((id) =>
        ask(details, 'admin', { ...parent, [nested]: id }),
      );
      await expectAlike([await ask(details, 'admin', parent), ...(await Promise.all(elsewhere))], 404);
    }
    expect(await dumpObjects()).toEqual(before);
  });

  it('responds with 403 for both to callers without the role', async () => {
    for (const caller of refused(details)) {
      const ids = (foreign[first] ?? []).map((id) => ask(details, caller, { [first]: id }));
      await expectAlike([await ask(details, caller, {}), ...(await Promise.all(ids))], 403);
    }
  });
});

describe('an agent', () => {
  it('finds its own objects by the same requests, so the refusals above are about ownership', async () => {
    const api = apiOf(broker, credentials.get('agent'));
    await api.get(`/v1/grants/${ownGrant}`).expect(200);
    await api.post(`/v1/grants/${ownGrant}/return`).expect(409);
    await api.post(`/v1/grants/${ownGrant}/cancel`).expect(200);
  });

  it('that filters a list by another caller’s id gets the same as for an id that does not exist', async () => {
    const lists = byQuery.filter(({ details }) => limited(details).length > 0);
    expect(lists.map(({ id, name }) => `${id} ${name}`)).toContain('listGrants agent_id');
    for (const { details, name } of lists) {
      for (const caller of limited(details)) {
        const headers = bearer(credentials.get(caller));
        const path = (id: string) => `${details.entry.path}?${name}=${id}`;
        const [theirs = ''] = foreign[name] ?? [];
        const unknown = `${theirs.slice(0, 4)}01kjdw0a5vf8h8v0m6gq3r9x2c`;
        const answers = [unknown, theirs].map((id) =>
          send(broker, { method: 'GET', path: path(id), headers }),
        );
        const [none, some] = await Promise.all(answers);
        expect(some?.json).toMatchObject({ items: [] });
        expect(some?.json).toEqual(none?.json);
      }
    }
    const whole = await apiOf(broker, bootstrapKey)
      .get(`/v1/grants?agent_id=${foreign.agent_id?.[0]}`)
      .expect(200);
    expect(whole.body.items).toHaveLength(3);
  });
});
