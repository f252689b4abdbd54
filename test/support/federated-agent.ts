import { randomBytes } from 'node:crypto';
import type supertest from 'supertest';
import { jwtBearerGrant } from '../../src/oauth/clients/client-credentials.ts';
import { type Api, apiOf, asBootstrap, createPerson, oauthPost } from './broker.ts';
import { createKey } from './key-agent.ts';
import { sayOf } from './test-issuer.ts';

export interface FederatedAgent {
  id: string;
  issuerId: string;
  /** What the issuer says of `sub`, of the agent unless there is another. */
  say(sub?: string): Promise<string>;
  /** A form to the token endpoint with what the issuer says of the agent. */
  token(form?: Record<string, string>): Promise<supertest.Response>;
  /** Calls `/v1` with a broker token that was got now. */
  api(): Promise<Api>;
}

/** An agent that is the subject `job` of an issuer of its own, which is trusted by its keys, for people too. */
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
  const say = (sub = 'job'): Promise<string> => sayOf({ issuer, key, now: place.now }, sub);
  const token = async (form: Record<string, string> = {}): Promise<supertest.Response> => {
    const bearer = { grant_type: jwtBearerGrant, assertion: await say() };
    return oauthPost(place, '/oauth2/token', { ...bearer, ...form });
  };
  return {
    id: agent.id,
    issuerId: trusted.id,
    say,
    token,
    api: async () => apiOf(place, (await token()).body.access_token),
  };
}
