import { createRemoteJWKSet, customFetch, decodeProtectedHeader, jwtVerify } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { type SigningAlg, signingAlgs } from '../../../src/crypto/algorithms.ts';
import { type Cluster, isRunning, startCluster } from '../../cluster/cluster.ts';
import type { Replica } from '../../cluster/replica.ts';
import { createServerOf, grantTo, introspect, permitAll } from '../../oauth/fixtures.ts';
import {
  agentOf,
  asBootstrap,
  createAgent,
  createPolicy,
  createResource,
  type TestAgent,
} from '../../support/broker.ts';
import { parallel } from '../../support/count.ts';
import { eventually } from '../../support/eventually.ts';

/**
 * Keys are published for 360 s before they sign. A test cannot wait for that, so the owner of the database makes
 * every key 600 s older once it is in the JWK Set of both replicas. For the verifiers this is harder than the
 * reality: `jose` waits at least 30 s before it fetches a JWK Set again, so a key that is not in the first one is a
 * failure.
 */
const issuer = 'https://hallpass.test';
const published = ['prepared', 'active', 'retiring'];

let cluster: Cluster;
let replicas: [Replica, Replica];
let agent: TestAgent;
/** For each algorithm, a resource whose tokens are signed with it, and its server. */
const resources = new Map<SigningAlg, { identifier: string; server: { id: string; secret: string } }>();

beforeAll(async () => {
  cluster = await startCluster();
  ({ replicas } = cluster);
  const [first] = replicas;
  await createPolicy(first, permitAll);
  agent = await createAgent(first);
  for (const alg of signingAlgs) {
    const resource = await createResource(first, { token_alg: alg });
    await grantTo(agent, resource, { duration_seconds: 3600 });
    resources.set(alg, { identifier: resource.identifier, server: await createServerOf(first, resource) });
  }
});

function resourceOf(alg: SigningAlg) {
  const resource = resources.get(alg);
  if (resource === undefined) throw new Error(`no resource for ${alg}`);
  return resource;
}

const tokenFrom = (replica: Replica, alg: SigningAlg) =>
  agentOf(replica, agent).token({ resource: resourceOf(alg).identifier, scope: 'read' });

async function publishedKids(replica: Replica): Promise<string[]> {
  const { keys } = (await (await fetch(`${replica.url}/oauth2/jwks`)).json()) as { keys: { kid: string }[] };
  return keys.map(({ kid }) => kid).sort();
}

/** Resolves when both replicas publish the same keys as the database, which jobs may change meanwhile. */
async function allPublished(): Promise<void> {
  await eventually(async () => {
    const rows = await cluster.query<{ kid: string }>(
      'select kid from signing_keys where state = any($1) order by kid',
      [published],
    );
    const kids = rows.map(({ kid }) => kid);
    for (const replica of replicas) expect(await publishedKids(replica)).toEqual(kids);
  });
}

const age = (algs: readonly SigningAlg[] = signingAlgs) =>
  cluster.query(
    `update signing_keys set created_at = created_at - interval '600 s',
            activated_at = activated_at - interval '600 s', retiring_at = retiring_at - interval '600 s'
      where alg = any($1)`,
    [algs],
  );

/** Returns the keys of an algorithm by state, from the API. */
async function keysOf(alg: SigningAlg): Promise<Record<string, string[]>> {
  const { body } = await asBootstrap(replicas[0]).get('/v1/keys').expect(200);
  const states: Record<string, string[]> = {};
  for (const key of body.items as { id: string; alg: string; status: string }[]) {
    if (key.alg === alg) states[key.status] = [...(states[key.status] ?? []), key.id];
  }
  return states;
}

const rotate = (replica: Replica, body: object) =>
  asBootstrap(replica).post('/v1/keys/rotate', { reason: 'test', ...body });

interface Verifier {
  verify(token: string, alg: SigningAlg): Promise<unknown>;
  fetches(): number;
}

/** Creates a resource server with the defaults of `jose`. */
function verifierOf(replica: Replica): Verifier {
  let fetches = 0;
  const jwks = createRemoteJWKSet(new URL(`${replica.url}/oauth2/jwks`), {
    [customFetch]: (url, options) => {
      fetches += 1;
      return fetch(url, options);
    },
  });
  return {
    fetches: () => fetches,
    verify: (token, alg) =>
      jwtVerify(token, jwks, {
        issuer,
        audience: resourceOf(alg).identifier,
        typ: 'at+jwt',
        algorithms: [alg],
        requiredClaims: ['exp', 'iat', 'jti', 'sub', 'scope', 'grant_id'],
      }),
  };
}

interface Minted {
  alg: SigningAlg;
  replica: Replica;
  kid: string | undefined;
}

/** Mints for every resource on every replica and verifies every token, until it is stopped. Rejects on any failure. */
function startMinting(verifiers: Verifier[]) {
  const minted: Minted[] = [];
  let stopping = false;
  const mint = async (replica: Replica, alg: SigningAlg): Promise<void> => {
    while (!stopping) {
      const { body } = await tokenFrom(replica, alg).expect(200);
      await Promise.all(verifiers.map((verifier) => verifier.verify(body.access_token, alg)));
      minted.push({ alg, replica, kid: decodeProtectedHeader(body.access_token).kid });
    }
  };
  const minting = Promise.all(signingAlgs.flatMap((alg) => replicas.map((replica) => mint(replica, alg))));
  minting.catch(() => {});
  return {
    minted,
    async stop() {
      stopping = true;
      await minting;
    },
  };
}

describe('while both replicas mint under all three algorithms', () => {
  it.each([1, 2])('no verifier gets a token with an unknown key, in rotation %i', async () => {
    await allPublished();
    await age();
    const verifiers = [verifierOf(replicas[0]), verifierOf(replicas[1])];
    const load = startMinting(verifiers);
    const mintedWith = (kids: string[]) =>
      eventually(async () => {
        for (const replica of replicas) {
          const seen = new Set(load.minted.flatMap((one) => (one.replica === replica ? [one.kid] : [])));
          for (const kid of kids) expect(seen).toContain(kid);
        }
      });
    const before = await Promise.all(signingAlgs.map(keysOf));
    await mintedWith(before.flatMap(({ active = [] }) => active));
    for (const [index, alg] of signingAlgs.entries()) {
      await rotate(replicas[index % 2] as Replica, { alg }).expect(200);
    }
    await mintedWith(before.flatMap(({ prepared = [] }) => prepared));
    await load.stop();
    expect(verifiers.map((verifier) => verifier.fetches())).toEqual([1, 1]);
    for (const [index, alg] of signingAlgs.entries()) {
      const kids = new Set(load.minted.flatMap((one) => (one.alg === alg ? [one.kid] : [])));
      expect([...kids].sort()).toEqual([before[index]?.active, before[index]?.prepared].flat().sort());
    }
  });
});

describe('two concurrent rotations on different replicas', () => {
  it('create one key per algorithm', async () => {
    await allPublished();
    await age();
    const before = await Promise.all(signingAlgs.map(keysOf));
    const answers = await Promise.all(
      signingAlgs.map((alg) => parallel(10, (n) => rotate(replicas[n % 2] as Replica, { alg }))),
    );
    for (const [index, alg] of signingAlgs.entries()) {
      const statuses = answers[index]?.map(({ status }) => status).sort();
      expect(statuses).toEqual([200, ...Array.from({ length: 9 }, () => 503)]);
      const { active, prepared, retiring } = await keysOf(alg);
      expect(active).toEqual(before[index]?.prepared);
      expect(prepared).toHaveLength(1);
      expect(retiring).toContain(before[index]?.active?.[0]);
    }
  });
});

/** Returns the response of each replica's token endpoint for a resource of `alg`. */
const answersFor = async (alg: SigningAlg) => Promise.all(replicas.map((replica) => tokenFrom(replica, alg)));

const statesOnReplicas = (token: string, alg: SigningAlg) =>
  Promise.all(replicas.map((replica) => introspect(replica, token, resourceOf(alg).server)));

const inactive = [{ active: false }, { active: false }];

describe.each(signingAlgs)('a compromised key of %s', (alg) => {
  const others = signingAlgs.filter((other) => other !== alg);
  const leak = { alg, compromised: true };
  let tokens: string[];
  let first: string;
  let second: string;

  it('is replaced at once by the prepared one, which verifiers know, and its tokens are inactive on both replicas', async () => {
    await allPublished();
    const verifier = verifierOf(replicas[1]);
    tokens = (await answersFor(alg)).map(({ body }) => body.access_token);
    for (const token of tokens) await verifier.verify(token, alg);
    const { active = [], prepared = [] } = await keysOf(alg);
    [first = '', second = ''] = [active[0], prepared[0]];
    await rotate(replicas[0], { ...leak, key_id: first }).expect(200);
    for (const token of tokens) expect(await statesOnReplicas(token, alg)).toEqual(inactive);
    for (const { status, body } of await answersFor(alg)) {
      expect(status).toBe(200);
      expect(decodeProtectedHeader(body.access_token).kid).toBe(second);
      await verifier.verify(body.access_token, alg);
      expect(await statesOnReplicas(body.access_token, alg)).toMatchObject([
        { active: true },
        { active: true },
      ]);
    }
    expect(verifier.fetches()).toBe(1);
  });

  it('is reported again without its id and refused with 503 and Retry-After, and minting continues', async () => {
    const again = await rotate(replicas[1], leak).expect(503);
    expect(again.body.code).toBe('no-published-key');
    expect(Number(again.headers['retry-after'])).toBeGreaterThan(300);
    expect((await keysOf(alg)).active).toEqual([second]);
    expect((await answersFor(alg)).map(({ status }) => status)).toEqual([200, 200]);
  });

  it('is reported again with its id and removed at once: the token endpoint returns 503 with Retry-After, other algorithms continue', async () => {
    tokens = (await answersFor(alg)).map(({ body }) => body.access_token);
    const again = await rotate(replicas[1], { ...leak, key_id: second }).expect(503);
    expect(again.body.code).toBe('no-published-key');
    expect(Number(again.headers['retry-after'])).toBeGreaterThan(300);
    for (const token of tokens) expect(await statesOnReplicas(token, alg)).toEqual(inactive);
    expect((await keysOf(alg)).active).toBeUndefined();
    const refused = await answersFor(alg);
    // Broker tokens are signed with ES256.
    if (alg === 'ES256')
      refused.push(...(await Promise.all(replicas.map((one) => agentOf(one, agent).token()))));
    for (const { status, headers, body } of refused) {
      expect([status, body.error]).toEqual([503, 'temporarily_unavailable']);
      expect(Number(headers['retry-after'])).toBeGreaterThan(0);
      expect(headers['cache-control']).toBe('no-store');
    }
    for (const other of others) {
      expect((await answersFor(other)).map(({ status }) => status)).toEqual([200, 200]);
    }
    // The compromised keys leave the JWK Set within the second that a replica caches it.
    await allPublished();
    for (const replica of replicas) expect(await publishedKids(replica)).not.toContain(second);
  });

  it('has a successor as soon as one was published long enough, and not before', async () => {
    await rotate(replicas[0], { alg }).expect(503);
    const { prepared = [] } = await keysOf(alg);
    await age([alg]);
    // A busy machine may answer 503 once, as to any change that waits too long for a lock.
    await eventually(async () => void (await rotate(replicas[0], { alg }).expect(200)), { seconds: 10 });
    for (const { status, body } of await answersFor(alg)) {
      expect(status).toBe(200);
      expect(decodeProtectedHeader(body.access_token).kid).toBe(prepared[0]);
    }
    expect(replicas.map(isRunning)).toEqual([true, true]);
  });
});
