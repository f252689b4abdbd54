import { describe, expect, it } from 'vitest';
import { createAssertionVerifier, createUsedAssertions } from '../../src/client-auth/assertions.ts';
import type { AuthenticatedClient } from '../../src/client-auth/authenticated-client.ts';
import type { ClientRecord } from '../../src/client-auth/client-records.ts';
import { createClients } from '../../src/client-auth/clients.ts';
import { hashSecret } from '../../src/crypto/hash.ts';
import { codeOf } from '../oauth/refusals.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { issuer } from './assertions.ts';

const method = 'client_secret_basic';
const good = { clientId: 'agt_1', secret: 'right', method } as const;

/** Creates clients in memory, which record every look-up. */
function fixture() {
  const clock = new FakeClock();
  const records = new Map<string, ClientRecord>();
  const lookUps: string[] = [];
  const find = (kind: string) => async (id: string) => {
    lookUps.push(`${kind} ${id}`);
    return records.get(id);
  };
  const clients = createClients({
    clock,
    find: {
      agent: find('agent'),
      resource: find('resource'),
      issuersNamed: async () => undefined,
      identities: { candidates: async () => ({ identities: [], isWhole: true }), explaining: async () => [] },
    },
    assertions: createAssertionVerifier({
      clock,
      issuer,
      keySets: { find: async () => [], readings: () => new Map() },
    }),
    issuer,
    dpop: { prove: async () => undefined },
    usedAssertions: createUsedAssertions().through({ use: async () => true }),
  });
  const put = (id: string, record: Partial<ClientRecord> = {}): void => {
    const secrets = [{ id: 'sec_1', hash: hashSecret('right'), expiresAt: null }];
    records.set(id, { epoch: 1, expiresAt: null, secrets, ...record });
  };
  // Always returns a promise: `authenticate` returns a value if memory has the answer.
  const authenticate: (...args: Parameters<typeof clients.authenticate>) => Promise<AuthenticatedClient> =
    async (...args) => clients.authenticate(...args);
  return { clock, authenticate, records, lookUps, put };
}

describe('a client', () => {
  it('is authenticated by its id and a valid secret, as agent or resource', async () => {
    const { authenticate, put } = fixture();
    put('agt_1');
    put('res_1', { epoch: 3 });
    expect(await authenticate(good)).toEqual({
      kind: 'agent',
      id: 'agt_1',
      epoch: 1,
      expiresAt: null,
      secretId: 'sec_1',
      method,
      requireBoundTokens: false,
      grantsOnDemand: false,
    });
    const server = { ...good, clientId: 'res_1', method: 'client_secret_post' } as const;
    expect(await authenticate(server)).toMatchObject({
      kind: 'resource',
      epoch: 3,
      method: server.method,
    });
  });

  it('is read once, and again only on demand or for a secret that is not in memory', async () => {
    const { authenticate, put, lookUps } = fixture();
    put('agt_1');
    for (let i = 0; i < 5; i += 1) await authenticate(good);
    expect(lookUps).toHaveLength(1);
    await authenticate(good, { fresh: true });
    expect(lookUps).toHaveLength(2);
    const secrets = [{ id: 'sec_2', hash: hashSecret('new'), expiresAt: null }];
    put('agt_1', { secrets });
    expect(await authenticate({ ...good, secret: 'new' })).toMatchObject({ secretId: 'sec_2' });
    expect(lookUps).toHaveLength(3);
    expect(await codeOf(authenticate(good))).toBe('invalid-client');
  });

  it('gets the same refusal after one look-up, whether it is unknown, of an unknown kind, or has another secret', async () => {
    const { authenticate, put, lookUps } = fixture();
    put('agt_1');
    const refused = [
      { ...good, secret: 'wrong' },
      { ...good, secret: '' },
      { ...good, clientId: 'agt_2' },
      { ...good, clientId: 'res_2' },
      { ...good, clientId: 'adm_1' },
      { ...good, clientId: '__proto__' },
      { ...good, clientId: 'a' },
    ];
    const messages: string[] = [];
    for (const credentials of refused) {
      const error = await authenticate(credentials).catch((thrown: Error) => thrown);
      messages.push(String(error));
    }
    expect(new Set(messages)).toEqual(new Set(['BrokerError: invalid-client']));
    expect(lookUps).toHaveLength(refused.length);
  });

  it('cannot be the placeholder with which an unknown client’s secret is compared', async () => {
    const { authenticate } = fixture();
    for (const clientId of ['agt_2', 'x', ''])
      expect(await codeOf(authenticate({ ...good, clientId, secret: '' }))).toBe('invalid-client');
  });

  it('can use each of its secrets until that secret expires, also from memory', async () => {
    const { authenticate, clock, put } = fixture();
    const expiresAt = new Date(clock.now().getTime() + 60_000);
    put('agt_1', {
      secrets: [
        { id: 'sec_1', hash: hashSecret('right'), expiresAt },
        { id: 'sec_2', hash: hashSecret('other'), expiresAt: null },
      ],
    });
    expect(await authenticate(good)).toMatchObject({ secretId: 'sec_1' });
    clock.advance(60);
    expect(await codeOf(authenticate(good))).toBe('invalid-client');
    expect(await authenticate({ ...good, secret: 'other' })).toMatchObject({ secretId: 'sec_2' });
  });

  it('that expires soon is read each time, because its expiry limits its tokens', async () => {
    const { authenticate, clock, put, lookUps } = fixture();
    const soon = new Date(clock.now().getTime() + 600_000);
    put('agt_1', { expiresAt: soon });
    expect(await authenticate(good)).toMatchObject({ expiresAt: soon });
    put('agt_1', { expiresAt: null });
    expect(await authenticate(good)).toMatchObject({ expiresAt: null });
    expect(lookUps).toHaveLength(2);
  });
});
