import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeJwt, SignJWT } from 'jose';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asBootstrap, createPerson } from '../../support/broker.ts';
import { createKey } from '../../support/key-agent.ts';
import { type Service, startService } from './broker.ts';
import { agentOf } from './clients/google-agent.ts';

/** Tests of google-auth-library's external account: a workload whose only credential is the token of its platform. */
let service: Service;
let agentId: string;
const platform = 'https://kubernetes.default.svc.cluster.local';
const subject = 'system:serviceaccount:agents:reporter';
const key = createKey();
const directory = mkdtempSync(join(tmpdir(), 'hallpass-google-'));
const tokenFile = join(directory, 'token');
afterAll(() => rmSync(directory, { recursive: true }));

/** Writes the token of the platform to the workload's file. */
async function project(sub: string): Promise<void> {
  const token = await new SignJWT({ iss: platform, sub, aud: service.issuer })
    .setProtectedHeader({ alg: key.alg, kid: key.kid })
    .setIssuedAt()
    .setExpirationTime('10m')
    .sign(key.privateKey);
  writeFileSync(tokenFile, token, { mode: 0o600 });
}

beforeAll(async () => {
  service = await startService();
  const admin = asBootstrap({ url: service.issuer });
  const trusted = await admin
    .post('/v1/trusted-issuers', { name: 'cluster', issuer: platform, jwks: { keys: [key.jwk] } })
    .expect(201);
  const created = await admin
    .post('/v1/agents', {
      name: 'reporter',
      owner: (await createPerson({ url: service.issuer })).id,
      environment: 'production',
      token_endpoint_auth_method: 'federated_jwt',
      identity: { trusted_issuer_id: trusted.body.id, subject },
      // The library does not know grants: its request creates a missing one on demand.
      grants_on_demand: true,
    })
    .expect(201);
  agentId = created.body.id;
  await project(subject);
});

describe('google-auth-library', () => {
  it("exchanges its platform's token for one for a resource, without a secret", async () => {
    const { issuer, resource } = service;
    const client = agentOf({ issuer, resource: resource.identifier, scope: 'read', tokenFile });
    const { token } = await client.getAccessToken();
    expect(decodeJwt(token ?? '')).toMatchObject({ sub: agentId, aud: resource.identifier, scope: 'read' });
  });

  it('gets no token beyond policy, nor with the token of another workload', async () => {
    const { issuer, resource } = service;
    const ask = (scope: string) =>
      agentOf({ issuer, resource: resource.identifier, scope, tokenFile }).getAccessToken();
    await expect(ask('nothing')).rejects.toThrow(/invalid_scope/);
    await project('system:serviceaccount:agents:other');
    await expect(ask('read')).rejects.toThrow(/invalid_request/);
    await project(subject);
    expect((await ask('read')).token).toBeTypeOf('string');
  });
});
