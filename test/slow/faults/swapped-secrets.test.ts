import { beforeAll, describe, expect, it } from 'vitest';
import { type SigningAlg, signingAlgs } from '../../../src/crypto/algorithms.ts';
import { type Cluster, isRunning, startCluster } from '../../cluster/cluster.ts';
import type { Replica } from '../../cluster/replica.ts';
import { grantTo, permitAll } from '../../oauth/fixtures.ts';
import { agentOf, createAgent, createPolicy, createResource, type TestAgent } from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';
import { send } from '../../support/http.ts';

/**
 * P7 on the built broker: encrypted values in the real database are swapped between rows and between columns. The
 * rules are in test/keys/broken-keys.test.ts.
 */
let cluster: Cluster;
let agent: TestAgent;
const identifiers = new Map<SigningAlg, string>();

beforeAll(async () => {
  cluster = await startCluster();
  const [first] = cluster.replicas;
  await createPolicy(first, permitAll);
  agent = await createAgent(first);
  for (const alg of signingAlgs) {
    const { identifier } = await createResource(first, { token_alg: alg });
    identifiers.set(alg, identifier);
    await grantTo(agent, { identifier });
  }
});

async function restart(): Promise<Replica> {
  const [old] = cluster.replicas;
  expect(await old.drain()).toBe(0);
  const replica = await cluster.start();
  cluster.replicas = [replica, cluster.replicas[1]];
  return replica;
}

const tokenFrom = (replica: Replica, alg: SigningAlg) =>
  agentOf(replica, agent).token({ resource: identifiers.get(alg) ?? '', scope: 'read' });

async function kidOf(alg: SigningAlg, state: string): Promise<string> {
  const [row] = await cluster.query<{ kid: string }>(
    'select kid from signing_keys where alg = $1 and state = $2',
    [alg, state],
  );
  return row?.kid ?? '';
}

/** Swaps the encrypted private keys of two keys. */
const swap = (one: string, other: string) =>
  cluster.query(
    `update signing_keys k set private_sealed = o.private_sealed from signing_keys o
      where (k.kid, o.kid) in (($1, $2), ($2, $1))`,
    [one, other],
  );

/**
 * Checks that these algorithms issue no token, that the log and the readiness check name their keys, and that the
 * others sign.
 */
async function expectRefused(replica: Replica, broken: Map<SigningAlg, string>): Promise<void> {
  for (const alg of signingAlgs) {
    const { status, body, headers } = await tokenFrom(replica, alg);
    expect(status, alg).toBe(broken.has(alg) ? 503 : 200);
    if (!broken.has(alg)) continue;
    expect(body.error).toBe('temporarily_unavailable');
    expect(Number(headers['retry-after'])).toBeGreaterThan(0);
  }
  const kids = [...broken.values()].sort();
  const readiness = await send(replica, { method: 'GET', path: '/readyz', headers: {} });
  expect(readiness.status).toBe(200);
  const { unusable_keys } = readiness.json.checks as { unusable_keys: string };
  expect(unusable_keys.split(' ').sort()).toEqual(kids);
  await replica.seen('a signing key is not usable');
  const lines = replica.stderr().split('\n');
  const said = lines
    .filter((text) => text.includes('a signing key is not usable'))
    .map((text) => JSON.parse(text));
  expect(said.map(({ key_id }) => key_id).sort()).toEqual(kids);
  for (const line of said) {
    expect(line).toMatchObject({ level: 50, err: { message: expect.stringContaining('not-authentic') } });
  }
}

describe('encrypted values in the place of others', () => {
  let kept: { kid: string; private_sealed: Buffer }[];
  const putBack = async (): Promise<void> => {
    for (const { kid, private_sealed } of kept)
      await cluster.query('update signing_keys set private_sealed = $2 where kid = $1', [
        kid,
        private_sealed,
      ]);
  };

  it('never sign if they are keys, of two rows or of another column: the response is 503, the log names them, and the others sign', async () => {
    kept = await cluster.query('select kid, private_sealed from signing_keys');
    const broken = new Map<SigningAlg, string>();
    for (const alg of ['ES256', 'EdDSA'] as const) broken.set(alg, await kidOf(alg, 'active'));
    await swap(broken.get('ES256') ?? '', await kidOf('ES256', 'prepared'));
    await cluster.query(
      'update signing_keys set private_sealed = (select sealed from master_key_check) where kid = $1',
      [broken.get('EdDSA')],
    );
    const replica = await restart();
    await expectRefused(replica, broken);
    await putBack();
    for (const alg of signingAlgs) {
      await eventually(async () => expect((await tokenFrom(replica, alg)).status).toBe(200));
    }
  });

  it('prevent every start if one checks the master key, and running processes continue', async () => {
    const [check] = await cluster.query<{ sealed: Buffer }>('select sealed from master_key_check');
    await cluster.query('update master_key_check set sealed = $1', [kept[0]?.private_sealed]);
    await expect(cluster.start()).rejects.toThrow(/HALLPASS_MASTER_KEY is not the key that the secrets/);
    for (const replica of cluster.replicas) {
      expect(isRunning(replica)).toBe(true);
      expect((await tokenFrom(replica, 'ES256')).status).toBe(200);
    }
    await cluster.query('update master_key_check set sealed = $1', [check?.sealed]);
  });
});
