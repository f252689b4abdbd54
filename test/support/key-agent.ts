import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { SignJWT } from 'jose';
import type supertest from 'supertest';
import type { Jwk } from '../../src/outbound/key-source.ts';
import { type Api, apiOf, asBootstrap, createPerson, oauthPost, testIssuer } from './broker.ts';

export interface TestKey {
  kid: string;
  alg: string;
  privateKey: KeyObject;
  /** The public key as a JWK. */
  jwk: Jwk;
}

let keys = 0;

export function createKey(options: { kid?: string } = {}): TestKey {
  keys += 1;
  const { kid = `kid-${keys}` } = options;
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { kid, alg: 'ES256', privateKey, jwk: { kty: 'EC', ...publicKey.export({ format: 'jwk' }), kid } };
}

export interface AssertionTerms {
  /** Claims that replace those of a valid assertion; undefined leaves one out. */
  claims?: Record<string, unknown>;
  header?: Record<string, unknown>;
  key?: TestKey;
}

export interface KeyAgent {
  id: string;
  key: TestKey;
  /** Makes a valid assertion of the agent at the current time, except for the changes in `terms`. */
  assert(terms?: AssertionTerms): Promise<string>;
  /** Posts a form to the token endpoint with an assertion: a valid one, unless the form has another. */
  token(form?: Record<string, string>): Promise<supertest.Response>;
  /** Returns requests to `/v1` with a new broker token. */
  api(): Promise<Api>;
}

export const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

export const proofOf = (assertion: string): Record<string, string> => ({
  client_assertion: assertion,
  client_assertion_type: assertionType,
});

interface Place {
  url: string;
  now: () => Date;
  issuer?: string;
}

/** Returns the client functions of the agent `id`, which authenticates with `key`. */
export function keyAgentOf(place: Place, { id, key }: { id: string; key: TestKey }): KeyAgent {
  const assert = ({ claims = {}, header = {}, key: by = key }: AssertionTerms = {}): Promise<string> => {
    const now = Math.floor(place.now().getTime() / 1000);
    const good = {
      iss: id,
      sub: id,
      aud: place.issuer ?? testIssuer,
      jti: randomUUID(),
      iat: now,
      exp: now + 60,
    };
    return new SignJWT({ ...good, ...claims })
      .setProtectedHeader({ alg: by.alg, kid: by.kid, ...header })
      .sign(by.privateKey);
  };
  const token = async (form: Record<string, string> = {}): Promise<supertest.Response> => {
    const proof = 'client_assertion' in form ? {} : proofOf(await assert());
    return oauthPost(place, '/oauth2/token', { grant_type: 'client_credentials', ...proof, ...form });
  };
  return {
    id,
    key,
    assert,
    token,
    async api() {
      const issued = await token();
      if (issued.status !== 200) throw new Error(`no broker token: ${issued.text}`);
      return apiOf(place, issued.body.access_token);
    },
  };
}

/** Creates an agent that authenticates with `key`, unless `terms` name a `jwks_uri`. */
export async function createKeyAgent(
  place: Place,
  { key = createKey(), ...terms }: { key?: TestKey; [term: string]: unknown } = {},
): Promise<KeyAgent> {
  const owner = (await createPerson(place, { name: 'owner' })).id;
  const keysOf = 'jwks_uri' in terms ? {} : { jwks: { keys: [key.jwk] } };
  const created = await asBootstrap(place)
    .post('/v1/agents', {
      name: 'agent',
      environment: 'development',
      token_endpoint_auth_method: 'private_key_jwt',
      owner,
      ...keysOf,
      ...terms,
    })
    .expect(201);
  return keyAgentOf(place, { id: created.body.id, key });
}
