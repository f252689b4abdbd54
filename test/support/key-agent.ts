import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { SignJWT } from 'jose';
import type supertest from 'supertest';
import type { Jwk } from '../../src/outbound/key-source.ts';
import { type Api, apiOf, asBootstrap, createPerson, oauthPost, testIssuer } from './broker.ts';

export interface TestKey {
  kid: string;
  alg: string;
  privateKey: KeyObject;
  /** Its public half as a JWK. */
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
  /** Claims that differ from those of a good assertion; undefined leaves one out. */
  claims?: Record<string, unknown>;
  header?: Record<string, unknown>;
  key?: TestKey;
}

export interface KeyAgent {
  id: string;
  key: TestKey;
  /** A good assertion of its own, at `now` in seconds. */
  assert(terms?: AssertionTerms): Promise<string>;
  /** A form to the token endpoint with an assertion: a good one of its own, unless there is another. */
  token(form?: Record<string, string>): Promise<supertest.Response>;
  /** Calls `/v1` with a broker token that was got now. */
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

/** How the agent `id` with `key` proves itself. */
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

/** An agent with keys: with `key` unless `terms` say where else they are. */
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
