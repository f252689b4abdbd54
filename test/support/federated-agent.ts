import { randomBytes } from 'node:crypto';
import type supertest from 'supertest';
import { jwtBearerGrant } from '../../src/oauth/grant-types/jwt-bearer.ts';
import { type Api, apiOf, asBootstrap, createPerson, oauthPost } from './broker.ts';
import { createKey } from './key-agent.ts';
import { signIssuerToken } from './test-issuer.ts';

export interface FederatedAgent {
  id: string;
  issuerId: string;
  /** Issues a token of the issuer for the subject `sub`, by default for the agent. */
  issueToken(sub?: string): Promise<string>;
  /** Posts a form to the token endpoint with the issuer's token for the agent. */
  token(form?: Record<string, string>): Promise<supertest.Response>;
  /** Returns requests to `/v1` with a new broker token. */
  api(): Promise<Api>;
}

/** Creates an agent that is the subject `job` of a new trusted issuer, which is also a subject token issuer. */
export async function createFederatedAgent(place: { url: string; now: () => Date }): Promise<FederatedAgent> {
  const admin = asBootstrap(place);
  const issuer = `https://${randomBytes(6).toString('hex')}.example`;
  const key = createKey();
  const terms = { name: 'CI', issuer, subject_tokens: true, jwks: { keys: [key.jwk] } };
  const { body: trusted } = await admin.post('/v1/trusted-issuers', terms).expect(201);
  const { body: agent } = await admin
    .post('/v1/agents', {
      name: 'job',
      environment: 'development',
      token_endpoint_auth_method: 'federated_jwt',
      owner: (await createPerson(place, { name: 'owner' })).id,
      identity: { trusted_issuer_id: trusted.id, subject: 'job' },
    })
    .expect(201);
  const issueToken = (sub = 'job'): Promise<string> => signIssuerToken({ issuer, key, now: place.now }, sub);
  const token = async (form: Record<string, string> = {}): Promise<supertest.Response> => {
    const bearer = { grant_type: jwtBearerGrant, assertion: await issueToken() };
    return oauthPost(place, '/oauth2/token', { ...bearer, ...form });
  };
  return {
    id: agent.id,
    issuerId: trusted.id,
    issueToken,
    token,
    api: async () => apiOf(place, (await token()).body.access_token),
  };
}
