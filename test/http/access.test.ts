import { beforeAll, describe, expect, it } from 'vitest';
import type { Role } from '../../src/caller.ts';
import { access } from '../../src/http/access.ts';
import { isRouted, readContract } from '../../src/http/contract.ts';
import { createAgent, createPerson, startBroker, type TestBroker, testIssuer } from '../support/broker.ts';
import { detailsOf, exampleRequest } from '../support/contract-requests.ts';
import { bearer, send } from '../support/http.ts';

/** Calls every operation that Express routes as every kind of caller. */
const contract = readContract();
const operations = contract.operations.filter(isRouted);
const closed = operations.filter(({ id }) => !(access[id] as readonly string[]).includes('anyone'));

const callers = ['agent', 'person', 'admin', 'approver', 'auditor'] as const;
type CallerName = (typeof callers)[number];

let broker: TestBroker;
const credentials = new Map<CallerName, string>();
let agentId: string;

beforeAll(async () => {
  broker = await startBroker();
  for (const name of callers) {
    if (name === 'agent') continue;
    const roles: Role[] = name === 'person' ? [] : [name];
    credentials.set(name, (await createPerson(broker, { roles })).key);
  }
  // The approver and the resource of the example exist, so that policy has no reason to deny the example request.
  const resource = operations.find(({ id }) => id === 'createResource');
  if (resource === undefined) throw new Error('the contract has no createResource');
  const made = await send(broker, as('admin', exampleRequest(detailsOf(contract, resource))));
  expect(made.status).toBe(201);
  const agent = await createAgent(broker);
  agentId = agent.id;
  const token = await agent.token().expect(200);
  credentials.set('agent', token.body.access_token);
});

function as<T extends { headers: Record<string, string> }>(name: CallerName, request: T): T {
  return { ...request, headers: { ...request.headers, ...bearer(credentials.get(name)) } };
}

/** Whether the access table alone allows the call. Each person here has one role or no role. */
function isAllowed(id: keyof typeof access, name: CallerName): boolean {
  const allowed: readonly string[] = access[id];
  return allowed.includes(name) || (name !== 'agent' && allowed.includes('person'));
}

async function eventsOf(requestId: unknown) {
  const { rows } = await broker.database.owner.query(
    `select type, outcome, actor_id, agent_id, grant_id, object_id, details
      from audit_events where request_id = $1`,
    [requestId],
  );
  return rows;
}

/** Returns the objects that an event about a request to `path` must name, from the ids in the path. */
function subjectOf(path: string, caller: CallerName) {
  const ids = path.match(/[a-z]{3}_[0-9a-z]{26}/g) ?? [];
  const caught = (prefix: string) => ids.find((id) => id.startsWith(prefix)) ?? null;
  return {
    agent_id: caught('agt_') ?? (caller === 'agent' ? agentId : null),
    grant_id: caught('grt_'),
    object_id: ids.findLast((id) => !id.startsWith('grt_')) ?? null,
  };
}

describe.each(closed)('$method $path', (entry) => {
  const request = exampleRequest(detailsOf(contract, entry));
  const variants = request.body === undefined ? [request] : [request, { ...request, body: '{' }];

  const found = `resource_metadata="${testIssuer}/.well-known/oauth-protected-resource"`;
  const algs = `algs="ES256 ES384 ES512 RS256 RS384 RS512 PS256 PS384 PS512 EdDSA Ed25519", ${found}`;
  const none = `Bearer realm="hallpass", ${found}, DPoP realm="hallpass", ${algs}`;
  const bad = `Bearer realm="hallpass", error="invalid_token", ${found}, DPoP realm="hallpass", ${algs}`;
  it.each<[string, Record<string, string>, string]>([
    ['without a credential', {}, none],
    ['with an unknown key', bearer('hpa_0000000000000000000000000000000000000000000'), bad],
    ['with a token that we did not sign', bearer('eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.'), bad],
    ['with a malformed token', { Authorization: 'bearer a b' }, bad],
    ['with a credential of another scheme', { Authorization: 'Basic YTpi' }, none],
  ])('is refused %s, before the body is read, with an error only for a wrong credential', async (_what, headers, challenge) => {
    for (const one of variants) {
      const answer = await send(broker, { ...one, headers: { ...one.headers, ...headers } });
      expect(answer).toMatchObject({ status: 401, json: { code: 'unauthenticated', status: 401 } });
      expect(answer.headers['www-authenticate']).toBe(challenge);
      expect(answer.headers['cache-control']).toBe('no-store');
      expect(await eventsOf(answer.headers['x-request-id'])).toEqual([]);
    }
  });

  it('is refused to every caller that the table does not name, with one audit event, before the body is read', async () => {
    for (const name of callers.filter((caller) => !isAllowed(entry.id, caller))) {
      for (const one of variants) {
        const answer = await send(broker, as(name, one));
        expect(answer, name).toMatchObject({ status: 403, json: { code: 'forbidden', status: 403 } });
        expect(await eventsOf(answer.headers['x-request-id']), name).toEqual([
          {
            type: 'access.denied',
            outcome: 'denied',
            actor_id: expect.any(String),
            ...subjectOf(request.path, name),
            details: { operation: entry.id, code: 'forbidden' },
          },
        ]);
      }
    }
  });

  it('is open to every caller that the table names', async () => {
    for (const name of callers.filter((caller) => isAllowed(entry.id, caller))) {
      const { status, text } = await send(broker, as(name, request));
      expect([401, 403, 500], `${name}: ${text}`).not.toContain(status);
    }
  });
});

describe.each(operations.filter((entry) => !closed.includes(entry)))('$method $path', (entry) => {
  it('is open to anyone, and reads no credential', async () => {
    const request = exampleRequest(detailsOf(contract, entry));
    for (const headers of [{}, bearer('hpa_unknown')]) {
      const { status } = await send(broker, { ...request, headers });
      expect([401, 403, 404, 500]).not.toContain(status);
    }
  });
});
