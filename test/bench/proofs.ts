import { generateKeyPairSync, type KeyObject, randomUUID, sign } from 'node:crypto';
import { median, print, printTarget, rate, setting } from './figures.ts';
import { startPostgres } from './postgres.ts';
import { load, perSecond, type Run, type Server, startServer } from './support.ts';

/**
 * Compares minting with private_key_jwt and DPoP with oidc-provider, which stores used values in memory instead of
 * Postgres. Each server alone on core 0, Postgres and wrk on core 1, in turn. Every request is valid only once.
 */
const rounds = setting('ROUNDS', 5);
const requests = setting('REQUESTS', 20_000);
const how = {
  script: 'proofs.lua',
  seconds: setting('SECONDS', 4),
  connections: setting('CONNECTIONS', 64),
};

/** The configuration of the two servers, and the parts of requests to them. */
interface Party {
  server: Server;
  clientId: string;
  /** The key of assertions. */
  audience: string;
  /** The key of proofs. */
  htu: string;
}

const agentKey = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const holderKey = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwkOf = (key: KeyObject): object => ({ ...key.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' });
const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

function signJwt(header: object, claims: object, key: KeyObject): string {
  const input = `${part({ alg: 'ES256', ...header })}.${part(claims)}`;
  const signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' });
  return `${input}.${signature.toString('base64url')}`;
}

/** Creates more requests than any run can use up, before the run. */
function makeRequests({ server, clientId, audience, htu }: Party): string[] {
  const now = Math.floor(Date.now() / 1000);
  const jwk = holderKey.publicKey.export({ format: 'jwk' });
  const type = encodeURIComponent('urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
  return Array.from({ length: requests }, () => {
    const times = { iat: now, exp: now + 60, jti: randomUUID() };
    const own = { iss: clientId, sub: clientId, aud: audience, ...times };
    const assertion = signJwt({}, own, agentKey.privateKey);
    const proof = signJwt(
      { typ: 'dpop+jwt', jwk },
      { iat: now, jti: randomUUID(), htm: 'POST', htu },
      holderKey.privateKey,
    );
    return `${server.target.form}&client_assertion_type=${type}&client_assertion=${assertion}\t${proof}`;
  });
}

async function startOurs(databaseUrl: string): Promise<Party> {
  const server = await startServer('hallpass', { databaseUrl, dpopNonce: 'optional' });
  const { adminKey = '', agentId = '' } = server.about;
  const change = {
    token_endpoint_auth_method: 'private_key_jwt',
    jwks: { keys: [jwkOf(agentKey.publicKey)] },
  };
  const changed = await fetch(new URL(`/v1/agents/${agentId}`, server.target.url), {
    method: 'PATCH',
    headers: { Authorization: `Bearer ${adminKey}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(change),
  });
  if (!changed.ok) throw new Error(await changed.text());
  const issuer = 'https://hallpass.test';
  return { server, clientId: agentId, audience: issuer, htu: `${issuer}/oauth2/token` };
}

async function startTheirs(): Promise<Party> {
  const server = await startServer('oidc-provider', { clientKey: jwkOf(agentKey.publicKey) });
  return { server, clientId: 'agent', audience: 'http://127.0.0.1', htu: server.target.url };
}

function run(party: Party): Run {
  const target = { ...party.server.target, forms: makeRequests(party) };
  const seen = load(target, how);
  if (seen.requests > requests) throw new Error('a request was sent twice: give it more');
  if (seen.bad + seen.errors > 0) throw new Error(`${seen.bad} wrong answers, ${seen.errors} errors`);
  return seen;
}

async function main(): Promise<void> {
  const database = await startPostgres();
  const parties = { ours: await startOurs(database.applicationUrl), theirs: await startTheirs() };
  try {
    for (const party of Object.values(parties)) run(party);
    const runs: Record<keyof typeof parties, Run[]> = { ours: [], theirs: [] };
    for (let round = 0; round < rounds; round += 1) {
      runs.ours.push(run(parties.ours));
      runs.theirs.push(run(parties.theirs));
    }
    const [ours, theirs] = [median(runs.ours.map(perSecond)), median(runs.theirs.map(perSecond))];
    print(
      `hallpass       ${rate(ours)}   p99 ${(median(runs.ours.map(({ p99 }) => p99)) / 1000).toFixed(1)} ms`,
    );
    print(
      `oidc-provider  ${rate(theirs)}   p99 ${(median(runs.theirs.map(({ p99 }) => p99)) / 1000).toFixed(1)} ms`,
    );
    printTarget('private_key_jwt and DPoP, hallpass / oidc-provider', ours / theirs, { atLeast: 1.3 });
  } finally {
    for (const { server } of Object.values(parties)) await server.stop();
    await database.stop();
  }
}

await main();
