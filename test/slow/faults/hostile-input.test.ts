import { once } from 'node:events';
import { connect } from 'node:net';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isRouted, readContract } from '../../../src/http/contract.ts';
import { type Cluster, isRunning, startCluster } from '../../cluster/cluster.ts';
import { basicAuth, tokenOf } from '../../oauth/fixtures.ts';
import { atEnd } from '../../support/at-end.ts';
import { createAgent, type TestAgent } from '../../support/broker.ts';
import { detailsOf, exampleRequest, type OperationDetails } from '../../support/contract-requests.ts';
import { credentialFor } from '../../support/credential-for.ts';
import { type Answer, send } from '../../support/http.ts';
import { dumpTables } from '../../support/table-dump.ts';
import { type Good, garbageFor, unframed } from './garbage.ts';

/**
 * Sends classes of invalid input to every operation of the contract on the built broker, made from its own example,
 * with a valid credential. Individual cases are in test/http/body.test.ts, test/http/edge.test.ts and
 * test/oauth/form.test.ts.
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
  // Without jobs, so that only requests change anything.
  cluster = await startCluster({ HALLPASS_ROLE: 'api' });
  agent = await createAgent(cluster.replicas[0]);
  agentToken = await tokenOf(agent);
  owner = new pg.Client({ connectionString: cluster.ownerUrl });
  owner.on('error', () => {});
  await owner.connect();
  atEnd(() => owner.end());
  before = await dumpObjects();
});

/** Dumps everything except the audit log, which records refusals, and the times at which keys were used. */
async function dumpObjects(): Promise<string[]> {
  const lines = (await dumpTables(owner)).split('\n');
  return lines.filter((line) => !/^(audit_events|admin_keys) /.test(line));
}

function goodRequest(details: OperationDetails): Good {
  const example = exampleRequest(details);
  const headers = {
    ...example.headers,
    ...(isRouted(details.entry) ? credentialFor(details, agentToken) : basicAuth(agent)),
  };
  return { ...example, headers };
}

/**
 * Whether errors at this path have the OAuth form. An invalid request target has no path, and is refused as on other
 * paths.
 */
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

/** Asserts a 4xx in the form of its path, whose body agrees with its status line. */
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
  it('refuses invalid input with a clear 4xx', async () => {
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

/**
 * Sends `text` and closes that direction, or breaks the connection at once. Returns what is received until the
 * connection is closed.
 */
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
  it('with an incomplete request gets a 4xx or nothing, and nothing is changed', async () => {
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
    // The same request, complete, is valid.
    const answer = await send(replica, good);
    expect(answer.status).toBe(201);
    await owner.query('delete from admins where id = $1', [answer.json.id]);
  });
});

afterAll(async () => {
  expect(await dumpObjects()).toEqual(before);
  for (const replica of cluster.replicas) {
    expect(isRunning(replica)).toBe(true);
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
