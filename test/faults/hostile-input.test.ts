import { once } from 'node:events';
import { connect } from 'node:net';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { access } from '../../src/http/access.ts';
import { isRouted, type RoutedEntry, readContract } from '../../src/http/contract.ts';
import { type Cluster, isAlive, startCluster } from '../cluster/cluster.ts';
import { basicAuth, tokenOf } from '../oauth/fixtures.ts';
import { atEnd } from '../support/at-end.ts';
import { bootstrapKey, createAgent, type TestAgent } from '../support/broker.ts';
import { detailsOf, exampleRequest, type OperationDetails } from '../support/contract-requests.ts';
import { type Answer, bearer, send } from '../support/http.ts';
import { dumpTables } from '../support/table-dump.ts';
import { type Good, garbageFor, unframed } from './garbage.ts';

/**
 * Bad input as a class: for every operation of the contract, made from its own example, with a good credential, to the built
 * broker. Particular cases are in test/http/body.test.ts, test/http/edge.test.ts and test/oauth/form.test.ts.
 */
const contract = readContract();
const cases = contract.operations.map((entry) => ({ id: entry.id, details: detailsOf(contract, entry) }));
const runsPerOperation = 20;

let cluster: Cluster;
let owner: pg.Client;
let agent: TestAgent;
let agentToken: string;
let before: string[];

beforeAll(async () => {
  // No jobs: what changes is changed by a request.
  cluster = await startCluster({ HALLPASS_ROLE: 'api' });
  agent = await createAgent(cluster.replicas[0]);
  agentToken = await tokenOf(agent);
  owner = new pg.Client({ connectionString: cluster.ownerUrl });
  owner.on('error', () => {});
  await owner.connect();
  atEnd(() => owner.end());
  before = await things();
});

/** Everything but the record, where refusals belong, and when a key was last used. */
async function things(): Promise<string[]> {
  const lines = (await dumpTables(owner)).split('\n');
  return lines.filter((line) => !/^(audit_events|admin_keys) /.test(line));
}

function goodRequest(details: OperationDetails): Good {
  const example = exampleRequest(details);
  const headers = { ...example.headers, ...credentialFor(details) };
  return { ...example, headers };
}

function credentialFor({ entry }: OperationDetails): Record<string, string> {
  if (!isRouted(entry)) return basicAuth(agent);
  const allowed: readonly string[] = access[(entry as RoutedEntry).id];
  if (allowed.includes('anyone')) return {};
  return bearer(allowed.includes('agent') ? agentToken : bootstrapKey);
}

/** What is no request target at all has no place, and is refused as everything else is. */
function isOauth(path: string): boolean {
  return path.startsWith('/oauth2/') && isDecodable(path.split('?', 1)[0] ?? '');
}

function isDecodable(text: string): boolean {
  try {
    return decodeURIComponent(text) !== '';
  } catch {
    return false;
  }
}

/** A 4xx in the shape of its place, that says what its status line says. */
function expectRefused(answer: Answer, asOauth: boolean): void {
  expect(answer.status, answer.text).toBeGreaterThanOrEqual(400);
  expect(answer.status, answer.text).toBeLessThan(500);
  expect(answer.headers['x-request-id']).toMatch(/^req_/);
  if (asOauth) {
    expect(answer.headers['content-type']).toMatch(/^application\/json/);
    expect(answer.headers['cache-control']).toBe('no-store');
    expect(answer.json).toEqual({
      error: expect.stringMatching(/^[a-z_]+$/),
      error_description: expect.any(String),
    });
    return;
  }
  expect(answer.headers['content-type']).toBe('application/problem+json');
  expect(answer.json).toMatchObject({
    status: answer.status,
    code: expect.stringMatching(/^[a-z-]+$/),
    request_id: answer.headers['x-request-id'],
  });
}

describe.each(cases)('$id', ({ details }) => {
  it('refuses garbage with a clear 4xx', async () => {
    const good = goodRequest(details);
    let turn = 0;
    const refused = fc.asyncProperty(garbageFor(good, details), async (request) => {
      turn += 1;
      const replica = cluster.replicas[turn % 2] ?? cluster.replicas[0];
      expectRefused(await send(replica, request), isOauth(request.path));
    });
    await fc.assert(refused, { numRuns: runsPerOperation });
  });
});

/** Writes `text` and closes that direction, or breaks the connection at once; what comes back until it is closed. */
async function exchange(url: string, text: string, end: 'closed' | 'broken'): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  await once(socket, 'connect');
  let received = '';
  socket.on('error', () => {});
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    received += chunk;
  });
  const closed = once(socket, 'close');
  await new Promise((resolve) => socket.write(text, 'latin1', resolve));
  if (end === 'closed') socket.end();
  else socket.resetAndDestroy();
  await closed;
  return received;
}

describe('a connection', () => {
  it('with what is no whole request is answered 4xx or nothing, and nothing is done', async () => {
    const [replica] = cluster.replicas;
    const create = cases.find(({ id }) => id === 'createAdmin');
    if (create === undefined) throw new Error('the contract has no createAdmin');
    const good = goodRequest(create.details);
    const refused = fc.asyncProperty(
      unframed(good),
      fc.constantFrom('closed', 'broken'),
      async (text, end) => {
        const answer = await exchange(replica.url, text, end as 'closed');
        expect(answer).toMatch(/^(HTTP\/1\.1 4\d\d [\s\S]*)?$/);
      },
    );
    await fc.assert(refused, { numRuns: 100 });
    // The same request, whole, is good.
    const answer = await send(replica, good);
    expect(answer.status).toBe(201);
    await owner.query('delete from admins where id = $1', [answer.json.id]);
  });
});

afterAll(async () => {
  expect(await things()).toEqual(before);
  for (const replica of cluster.replicas) {
    expect(isAlive(replica)).toBe(true);
    expect(await send(replica, { method: 'GET', path: '/readyz', headers: {} })).toMatchObject({
      status: 200,
    });
    const errors = replica
      .stderr()
      .split('\n')
      .filter((line) => /"level":(50|60)/.test(line));
    expect(errors.slice(0, 3)).toEqual([]);
    expect(await replica.drain()).toBe(0);
  }
});
