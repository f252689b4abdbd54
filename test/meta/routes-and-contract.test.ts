import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import openapiTS, { astToString, COMMENT_HEADER } from 'openapi-typescript';
import { beforeAll, describe, expect, it } from 'vitest';
import { errorTable } from '../../src/errors.ts';
import { type Access, access } from '../../src/http/access.ts';
import { isRouted, type RoutedEntry, readContract } from '../../src/http/contract.ts';
import { leanOperations } from '../../src/http/operation-id.ts';
import { bootstrapKey, createAgent, startBroker, type TestBroker } from '../support/broker.ts';
import { disagreements } from '../support/contract-coverage.ts';
import { detailsOf, exampleRequest } from '../support/contract-requests.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { bearer, send } from '../support/http.ts';
import { createWorld, mutationIds, readingPosts, validRequest } from '../support/valid-requests.ts';

const root = join(import.meta.dirname, '../..');
const contract = readContract();
const operations = contract.operations.map((entry) => detailsOf(contract, entry));
const routed = contract.operations.filter(isRouted);

const clock = new FakeClock();
const observed: string[] = [];
let broker: TestBroker;
beforeAll(async () => {
  const observe = (operation: string): void => void observed.push(operation);
  broker = await startBroker({ clock, overrides: { observe } });
});

/** The source files that are not generated, each with its path below src and its text. */
const sources = (readdirSync(join(root, 'src'), { recursive: true }) as string[])
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.gen.ts'))
  .map((name) => ({ name, text: readFileSync(join(root, 'src', name), 'utf8') }));

describe('the contract and the routes', () => {
  it('name the same operations: each is in the access table or, if it bypasses Express, in `leanOperations`', () => {
    expect(routed.map(({ id }) => id).sort()).toEqual(Object.keys(access).sort());
    const others = contract.operations.filter((entry) => !isRouted(entry)).map(({ id }) => id);
    expect(others.sort()).toEqual([...leanOperations].sort());
    expect(new Set(contract.operations.map(({ id }) => id)).size).toBe(contract.operations.length);
  });

  it.each(
    operations,
  )('answer $entry.id at the method and path of the contract, and report it under this name', async (details) => {
    const { entry } = details;
    const allowed: readonly string[] = isRouted(entry) ? access[entry.id] : [];
    const token = allowed.includes('agent') ? await agentToken() : bootstrapKey;
    const example = exampleRequest(details);
    const headers = isRouted(entry) ? { ...example.headers, ...bearer(token) } : example.headers;
    observed.length = 0;
    const answer = await send(broker, { ...example, headers });
    expect(observed).toEqual([entry.id]);
    expect(answer.status).not.toBe(405);
  });

  it('are complete: only http/app.ts mounts routes, and paths that are not in the contract are unmatched', async () => {
    const mounting = sources.filter(
      ({ text }) => /from 'express'/.test(text) && !/import type [^;]*from 'express'/.test(text),
    );
    expect(mounting.map(({ name }) => name)).toEqual(['http/app.ts']);
    const elsewhere = [
      '/',
      '/metrics',
      '/v1',
      '/admin',
      '/docs',
      '/debug',
      '/oauth2',
      '/oauth2/login',
      '/.env',
    ];
    for (const path of [...elsewhere, '/openapi.yaml', '/v1/accounts', '/.well-known/jwks.json']) {
      observed.length = 0;
      const { status } = await send(broker, { method: 'GET', path, headers: bearer(bootstrapKey) });
      expect(`${path} ${status} ${observed.join()}`).toBe(`${path} 404 unmatched`);
    }
  });

  let token: Promise<string> | undefined;
  const agentToken = (): Promise<string> => {
    token ??= createAgent(broker).then(async (agent) => (await agent.token().expect(200)).body.access_token);
    return token;
  };
});

describe('the access of each operation', () => {
  it.each(routed)('is the same in the contract as in the access table: $id', (entry: RoutedEntry) => {
    const schemes = detailsOf(contract, entry).security;
    const allowed: readonly Access[] = access[entry.id];
    const person = allowed.some((one) => one !== 'anyone' && one !== 'agent');
    expect(schemes.includes('brokerToken')).toBe(allowed.includes('agent'));
    expect(schemes.includes('apiKey')).toBe(person);
    expect(schemes.length === 0).toBe(allowed.includes('anyone'));
  });

  it('is for admins only for people, agents, resources, policies, keys and jobs', () => {
    const grants = /^\/v1\/(grants|leases|calls|audit-events)/;
    const administrative = routed.filter(({ path }) => path.startsWith('/v1/') && !grants.test(path));
    expect(administrative.length).toBeGreaterThan(25);
    for (const { id } of administrative) expect(access[id], id).toEqual(['admin']);
  });

  it('is for anyone only if nothing can be changed and nothing is revealed about any caller', () => {
    const open = routed.filter(({ id }) => (access[id] as readonly Access[]).includes('anyone'));
    expect(open.map(({ method, path }) => `${method} ${path}`).sort()).toEqual([
      'get /.well-known/oauth-authorization-server',
      'get /.well-known/oauth-protected-resource',
      'get /.well-known/openid-configuration',
      'get /healthz',
      'get /oauth2/authorize',
      'get /oauth2/jwks',
      'get /openapi.json',
      'get /readyz',
    ]);
  });
});

describe('every mutation', () => {
  it('is listed: every operation except GET and the POST operations that only read', () => {
    const others = contract.operations.filter(({ method }) => method !== 'get').map(({ id }) => id);
    expect(others.sort()).toEqual([...mutationIds, ...readingPosts].sort());
  });

  it('writes an audit event with its request id, caller and address', async () => {
    const fresh = new FakeClock();
    const own = await startBroker({ clock: fresh });
    fresh.advance(600);
    const world = await createWorld(own);
    for (const id of mutationIds) {
      const answer = await send(own, await validRequest(world, id));
      expect(answer.status, `${id}: ${answer.text}`).toBeLessThan(300);
      const { rows } = await own.database.owner.query(
        'select type, outcome, actor_kind, source_ip from audit_events where request_id = $1',
        [answer.headers['x-request-id']],
      );
      expect(rows.length, id).toBeGreaterThan(0);
      for (const row of rows) {
        expect(row, id).toMatchObject({ outcome: 'success', source_ip: '127.0.0.1' });
        expect(row.actor_kind, id).toMatch(/^(person|agent)$/);
        expect(row.type, id).not.toBe('access.denied');
      }
    }
  });
});

describe('generated files', () => {
  it('are up to date: src/http/api.gen.ts', async () => {
    const ast = await openapiTS(new URL('../../openapi.yaml', import.meta.url));
    const text = readFileSync(join(root, 'src/http/api.gen.ts'), 'utf8');
    expect(text === `${COMMENT_HEADER}${astToString(ast)}`, 'run npm run generate:api').toBe(true);
  });
});

describe('the table of errors', () => {
  it('has no unused code', () => {
    const text = sources
      .filter(({ name }) => name !== 'errors.ts')
      .map((source) => source.text)
      .join('\n');
    const unused = Object.keys(errorTable).filter((code) => !text.includes(`'${code}'`));
    expect(unused).toEqual([]);
  });

  /** The codes of the gateway, which the contract of the broker does not describe. */
  const atTheGateway = ['misdirected-request', 'upstream-failed', 'upstream-timeout'];

  it('has only statuses that the contract declares for some operation, or that any operation may return', () => {
    const declared = new Set(contract.operations.flatMap(({ statuses }) => statuses));
    const entries = Object.entries(errorTable).filter(
      ([code]) => !['internal', 'method-not-allowed', ...atTheGateway].includes(code),
    );
    for (const [code, { status }] of entries) expect(declared, code).toContain(status);
  });
});

describe('the check after the test suite', () => {
  const declared = [
    { id: 'getHealth' as const, statuses: [200] },
    { id: 'listKeys' as const, statuses: [200, 401] },
  ];

  it('passes if every declared status was seen, and otherwise only those that any operation may return', () => {
    const seen = [
      'getHealth 200',
      'listKeys 200',
      'listKeys 401',
      'listKeys 405',
      'listKeys 499',
      'unmatched 404',
    ];
    expect(disagreements(declared, new Set(seen))).toEqual([]);
  });

  it('reports declared statuses that were never seen, and seen ones that are not declared', () => {
    expect(disagreements(declared, new Set(['getHealth 200', 'listKeys 200', 'listKeys 404']))).toEqual([
      'never returned: listKeys 401',
      'not in the contract: listKeys 404',
    ]);
    expect(disagreements(declared, new Set())).toHaveLength(3);
  });
});
