import { beforeAll, expect, it } from 'vitest';
import { type Cluster, startCluster } from '../../cluster/cluster.ts';
import { oauthPost } from '../../support/broker.ts';
import { parallel, tally } from '../../support/count.ts';
import { createHolder } from '../../support/dpop.ts';
import { createKeyAgent, type KeyAgent, proofOf } from '../../support/key-agent.ts';

/** Tests that one-time values are used once, for any number of concurrent requests to two processes. */
let cluster: Cluster;
let agent: KeyAgent;
let issuer: string;
beforeAll(async () => {
  cluster = await startCluster();
  const [first] = cluster.replicas;
  const metadata = await fetch(`${first.url}/.well-known/oauth-authorization-server`);
  issuer = ((await metadata.json()) as { issuer: string }).issuer;
  agent = await createKeyAgent({ url: first.url, issuer, now: () => new Date() });
});

it('an assertion gets one token for fifty concurrent requests to two processes, in either of its forms', async () => {
  for (let round = 0; round < 5; round += 1) {
    const assertion = await agent.assert();
    const forms = [
      { grant_type: 'client_credentials', ...proofOf(assertion) },
      { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion },
    ];
    const answers = await parallel(50, (n) => {
      const replica = cluster.replicas[n % 2] as Cluster['replicas'][0];
      return oauthPost(replica, '/oauth2/token', forms[(n >> 1) % 2] as Record<string, string>);
    });
    const statuses = tally(answers);
    expect(statuses[200]).toBe(1);
    expect(Object.keys(statuses).sort()).toEqual(['200', '400', '401']);
    const [row] = await cluster.query(
      `select count(*)::integer as n from tokens where agent_id = '${agent.id}'`,
    );
    expect(row).toEqual({ n: round + 1 });
  }
});

it('a DPoP proof gets one token for fifty concurrent requests to two processes, each with a separate assertion', async () => {
  const path = '/oauth2/token';
  const holder = createHolder({ issuer, now: () => new Date() });
  const ask = async (replica: { url: string }, proof: string) => {
    const form = { grant_type: 'client_credentials', ...proofOf(await agent.assert()) };
    return oauthPost(replica, path, form).set('DPoP', proof);
  };
  const [first, second] = cluster.replicas;
  holder.nonce = (await ask(second, await holder.prove('POST', path))).headers['dpop-nonce'];
  for (let round = 0; round < 5; round += 1) {
    const proof = await holder.prove('POST', path);
    const answers = await parallel(50, (n) => ask(n % 2 === 0 ? first : second, proof));
    expect(tally(answers)).toEqual({ 200: 1, 400: 49 });
  }
});
