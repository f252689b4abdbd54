import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { SignJWT } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseIssuer } from '../../src/platform/issuer.ts';
import { tupleProblem } from '../../src/trusted-issuers/identity.ts';
import { asBootstrap, createPerson, oauthPost, startBroker, type TestBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createKey } from '../support/key-agent.ts';

/**
 * The tokens in docs/workload-identity.md, registered as the document says, and signed with our key instead of the
 * platform's.
 */
const text = readFileSync(join(import.meta.dirname, '../../docs/workload-identity.md'), 'utf8');
const key = createKey();
const bearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

interface Example {
  platform: string;
  claims: Record<string, unknown>;
  trusted: Record<string, unknown>;
  identity: { subject: string; claims?: Record<string, unknown> };
}

const examples: Example[] = text
  .split(/^## /m)
  .map((section) => ({
    platform: section.split('\n')[0] ?? '',
    documents: [...section.matchAll(/^```json\n([\s\S]*?)^```/gm)].map(([, json]) => JSON.parse(json ?? '')),
  }))
  .filter(({ documents }) => documents.length === 3)
  .map(({ platform, documents: [claims, trusted, identity] }) => ({ platform, claims, trusted, identity }));

let broker: TestBroker;
beforeAll(async () => {
  const issuer = parseIssuer('https://hallpass.example.com');
  if (issuer === undefined) throw new Error('not an issuer');
  broker = await startBroker({ clock: new FakeClock(), config: { issuer } });
  for (const { trusted, identity } of examples) {
    const { jwks_uri: _, ...terms } = trusted;
    const registered = await asBootstrap(broker)
      .post('/v1/trusted-issuers', { ...terms, jwks: { keys: [key.jwk] } })
      .expect(201);
    await asBootstrap(broker)
      .post('/v1/agents', {
        name: 'agent',
        environment: 'production',
        owner: (await createPerson(broker)).id,
        token_endpoint_auth_method: 'federated_jwt',
        identity: { ...identity, trusted_issuer_id: registered.body.id },
      })
      .expect(201);
  }
});

async function statusOf(claims: object): Promise<number> {
  const assertion = await new SignJWT({ ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: key.kid })
    .sign(key.privateKey);
  return (await oauthPost(broker, '/oauth2/token', { grant_type: bearer, assertion })).status;
}

/** Returns the claims with another value for the claim of a condition. */
function without(claims: Record<string, unknown>, name: string): Record<string, unknown> {
  const changed = structuredClone(claims);
  const path = name.startsWith('/') ? name.slice(1).split('/') : [name];
  const parent = path.slice(0, -1).reduce((at, step) => at[step] as Record<string, unknown>, changed);
  parent[path.at(-1) ?? ''] = 'something else';
  return changed;
}

describe('the platforms of docs/workload-identity.md', () => {
  it('are Kubernetes, GitHub Actions, Google Cloud and SPIFFE', () => {
    const names = ['Kubernetes', 'GitHub Actions', 'Google Cloud', 'SPIFFE'];
    expect(examples.map(({ platform }) => platform)).toEqual(names);
  });

  it('have identities by claims that can be registered, each with a tenant', async () => {
    const rows = [...text.matchAll(/^\| (.+?) \| .+ \| `(\{.+\})` \|$/gm)];
    expect(rows.map(([, platform]) => platform)).toEqual([
      ...['GitHub Actions', 'GitLab CI/CD', 'Buildkite', 'Bitbucket Pipelines', 'CircleCI', 'HCP Terraform'],
    ]);
    for (const [, platform = '', claims = ''] of rows) {
      const tuple = { subject: null, claims: JSON.parse(claims) };
      expect(
        tupleProblem(tuple, { issuer: 'https://ci.example', tenantClaims: [] }),
        platform,
      ).toBeUndefined();
    }
  });

  it.each(examples)('$platform: its token authenticates the agent', async ({ claims }) => {
    expect(await statusOf(claims)).toBe(200);
  });

  it.each(
    examples,
  )('$platform: its token does not authenticate the agent if any checked claim differs', async (example) => {
    const { claims, trusted, identity } = example;
    const conditions = { ...(trusted.claims as object | undefined), ...identity.claims };
    for (const name of [...Object.keys(conditions), 'sub', 'aud', 'exp']) {
      expect({ name, status: await statusOf(without(claims, name)) }).toEqual({ name, status: 400 });
    }
  });
});
