import { beforeAll, describe, expect, it } from 'vitest';
import { createLog } from '../../src/platform/log.ts';
import { asBootstrap, createPerson, oauthPost, startBroker, type TestBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createKey } from '../support/key-agent.ts';
import { signIssuerToken } from '../support/test-issuer.ts';
import { bearerGrant } from './federation-scene.ts';

const clock = new FakeClock();
const lines: string[] = [];
const issuer = 'https://ci.example';
const subject = 'repo:octo-org/octo-repo:ref:refs/heads/main';
const key = createKey();

let broker: TestBroker;
let issuerId: string;
let agentId: string;
beforeAll(async () => {
  broker = await startBroker({ clock, log: createLog('info', { write: (line) => lines.push(line) }) });
  const terms = { name: 'CI', issuer, jwks: { keys: [key.jwk] }, claims: { repository_owner_id: '7' } };
  issuerId = (await admin().post('/v1/trusted-issuers', terms).expect(201)).body.id;
  const agent = await admin()
    .post('/v1/agents', {
      name: 'job',
      environment: 'production',
      owner: (await createPerson(broker)).id,
      token_endpoint_auth_method: 'federated_jwt',
      identity: { trusted_issuer_id: issuerId, subject, claims: { ref_protected: 'true' } },
    })
    .expect(201);
  agentId = agent.body.id;
});

const admin = () => asBootstrap(broker);
const good = { repository_owner_id: '7', ref_protected: 'true' };
const issueToken = (sub = subject, claims: object = {}, by = key) =>
  signIssuerToken({ issuer, key: by, now: () => clock.now() }, sub, { claims: { ...good, ...claims } });
const check = async (token: string, id = issuerId) =>
  (await admin().post(`/v1/trusted-issuers/${id}/check`, { token }).expect(200)).body;
const failedChecks = (body: { checks: { name: string; passed: boolean; detail: string | null }[] }) =>
  body.checks.filter(({ passed }) => !passed);

/** Sends a token and returns the reason in the log. */
async function reasonOf(token: string): Promise<string> {
  const answer = await oauthPost(broker, '/oauth2/token', { grant_type: bearerGrant, assertion: token });
  expect(answer.status).toBe(400);
  expect(answer.body).toEqual({ error: 'invalid_grant', error_description: 'the assertion is not valid' });
  const id = answer.headers['x-request-id'] as string;
  const line = lines.find((each) => each.includes(id) && each.includes('client authentication failed'));
  return JSON.parse(line ?? '{}').reason;
}

describe('a platform token that is refused', () => {
  it.each<[string, () => Promise<string>, string]>([
    [
      'a wrong sub',
      () => issueToken('repo:octo-org/other'),
      `wrong-identity (iss "${issuer}", sub "repo:octo-org/other"; agent `,
    ],
    [
      'a trailing slash in iss',
      () => issueToken(subject, { iss: `${issuer}/` }),
      `unknown-issuer (iss "${issuer}/", sub`,
    ],
    [
      'a claim that the issuer requires',
      () => issueToken(subject, { repository_owner_id: '8' }),
      'wrong-conditions (iss "https://ci.example", sub "repo:octo-org/octo-repo:ref:refs/heads/main"; repository_owner_id is "8", expected "7")',
    ],
    [
      'a claim that the agent requires',
      () => issueToken(subject, { ref_protected: true }),
      'ref_protected is true, expected "true")',
    ],
    [
      'a wrong audience',
      () => issueToken(subject, { aud: 'https://other.example' }),
      'aud is "https://other.example", expected',
    ],
    ['another key', () => issueToken(subject, {}, createKey()), 'unknown-key (iss'],
  ])('for %s is explained in the log, and to its sender not at all', async (_, make, reason) => {
    expect(await reasonOf(await make())).toContain(reason);
  });

  it('has an audit event with what differed, once a minute for each kind, with a count', async () => {
    const token = await issueToken('repo:octo-org/audited');
    for (let n = 0; n < 3; n += 1) await reasonOf(token);
    clock.advance(60);
    await expect
      .poll(async () => {
        const { rows } = await broker.database.owner.query(
          "select details, outcome from audit_events where type = 'workload_token.refused' and details->>'subject' = 'repo:octo-org/audited'",
        );
        return rows;
      })
      .toEqual([
        {
          outcome: 'denied',
          details: {
            issuer,
            subject: 'repo:octo-org/audited',
            reason: 'wrong-identity',
            detail: `agent ${agentId}: sub is "repo:octo-org/audited", expected "${subject}"`,
            address: '127.0.0.1',
            count: 3,
          },
        },
      ]);
  });
});

describe('the check of a token', () => {
  it('names the agent that the token authenticates, and does not use the token', async () => {
    const token = await issueToken();
    const body = await check(token);
    expect(body).toMatchObject({ accepted: true, agent_id: agentId, nearest_identities: [] });
    expect(body.checks.map(({ name }: { name: string }) => name)).toEqual([
      ...['signature', 'issuer', 'audience', 'lifetime', 'claims', 'identity', 'agent', 'restrictions'],
    ]);
    expect(lines.join()).not.toContain(token);
    await oauthPost(broker, '/oauth2/token', { grant_type: bearerGrant, assertion: token }).expect(200);
  });

  it('writes nothing', async () => {
    const count = async () =>
      (
        await broker.database.owner.query(
          'select (select count(*) from tokens) as tokens, (select count(*) from used_values) as used, (select count(*) from audit_events) as events',
        )
      ).rows;
    const before = await count();
    for (const token of [await issueToken(), await issueToken('other')]) await check(token);
    expect(await count()).toEqual(before);
  });

  it.each<[string, () => Promise<string>, [string, string]]>([
    ['is bound to a key', () => issueToken(subject, { cnf: { jkt: 'x' } }), ['restrictions', 'DPoP proof']],
    [
      'is for another actor',
      () => issueToken(subject, { may_act: { sub: 'x' } }),
      ['restrictions', 'may_act'],
    ],
    [
      'has just expired',
      () => issueToken(subject, { exp: Math.floor(clock.now().getTime() / 1000) - 5 }),
      ['lifetime', 'exp is past'],
    ],
  ])('does not accept a token that %s, as the token endpoint does not', async (_, make, [name, detail]) => {
    const token = await make();
    const body = await check(token);
    expect(body.accepted).toBe(false);
    expect(failedChecks(body)).toEqual([{ name, passed: false, detail: expect.stringContaining(detail) }]);
    const answer = await oauthPost(broker, '/oauth2/token', { grant_type: bearerGrant, assertion: token });
    expect(answer.status).not.toBe(200);
  });

  it.each<[string, () => Promise<string>, [string, string][]]>([
    [
      'everything that is wrong at once',
      () => issueToken('other', { aud: 'x', exp: 1, repository_owner_id: '8' }, createKey()),
      [
        ['signature', 'unknown-key: alg'],
        ['audience', 'aud is "x", expected "https://hallpass.test" alone'],
        ['lifetime', 'exp 1'],
        ['claims', 'repository_owner_id is "8", expected "7"'],
        ['identity', 'unknown-key'],
      ],
    ],
    [
      'a trailing slash in iss',
      () => issueToken(subject, { iss: `${issuer}/` }),
      [
        ['issuer', `iss is "${issuer}/", expected "${issuer}"`],
        ['identity', 'unknown-issuer'],
      ],
    ],
    ['a text that is not a JWT', async () => 'x', [['signature', 'not a signed JWT']]],
  ])('explains %s', async (_, make, expected) => {
    const body = await check(await make());
    expect(body).toMatchObject({ accepted: false, agent_id: null });
    const failures = failedChecks(body);
    expect(failures.map(({ name }) => name)).toEqual(expected.map(([name]) => name));
    for (const [index, [, detail]] of expected.entries()) expect(failures[index]?.detail).toContain(detail);
  });

  it('shows the identities that differ least', async () => {
    const body = await check(await issueToken(subject, { ref_protected: 'false' }));
    expect(body.nearest_identities).toEqual([
      { agent_id: agentId, differences: [{ claim: 'ref_protected', expected: 'true', actual: 'false' }] },
    ]);
  });

  it('says that the agent is disabled', async () => {
    await admin().post(`/v1/agents/${agentId}/disable`).expect(200);
    const body = await check(await issueToken());
    expect(body).toMatchObject({ accepted: false, agent_id: agentId });
    expect(failedChecks(body)).toEqual([
      { name: 'agent', passed: false, detail: 'the agent is disabled or has expired' },
    ]);
    expect(await reasonOf(await issueToken())).toContain(
      `unknown-client (iss "${issuer}", sub "${subject}"; agent ${agentId} is disabled`,
    );
    await admin().post(`/v1/agents/${agentId}/enable`).expect(200);
  });

  it('is for administrators only, and for trusted issuers only', async () => {
    const token = await issueToken();
    const approver = await createPerson(broker, { roles: ['approver', 'auditor'] });
    await approver.api.post(`/v1/trusted-issuers/${issuerId}/check`, { token }).expect(403);
    await admin().post('/v1/trusted-issuers/tis_01kjdw0a5vf8h8v0m6gq3r9x2c/check', { token }).expect(404);
    await admin().post(`/v1/trusted-issuers/${issuerId}/check`, {}).expect(400);
  });
});
