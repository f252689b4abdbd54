import { createHash, randomUUID } from 'node:crypto';
import { SignJWT } from 'jose';
import { type TestAgent, testIssuer } from './broker.ts';
import { createKey, type TestKey } from './key-agent.ts';

/** The holder of a key, who makes DPoP proofs for requests. */
export interface Holder {
  key: TestKey;
  /** The last nonce that a response had. */
  nonce: string | undefined;
  /** Makes a valid proof, except for the changes in `terms`; a claim that is undefined is left out. */
  prove(
    method: string,
    path: string,
    terms?: { token?: string; claims?: object; header?: object },
  ): Promise<string>;
}

export function createHolder(place: { now: () => Date; issuer?: string }, key = createKey()): Holder {
  const { kid: _, ...jwk } = key.jwk;
  const holder: Holder = {
    key,
    nonce: undefined,
    async prove(method, path, { token, claims = {}, header = {} } = {}) {
      const iat = Math.floor(place.now().getTime() / 1000);
      const htu = `${place.issuer ?? testIssuer}${path}`;
      const ath = token === undefined ? undefined : createHash('sha256').update(token).digest('base64url');
      const good = { jti: randomUUID(), htm: method, htu, iat, ath, nonce: holder.nonce };
      return new SignJWT({ ...good, ...claims })
        .setProtectedHeader({ typ: 'dpop+jwt', alg: key.alg, jwk, ...header })
        .sign(key.privateKey);
    },
  };
  return holder;
}

/** Creates a holder that has already received a nonce, by a token request of `agent`. */
export async function createReadyHolder(place: { now: () => Date }, agent: TestAgent): Promise<Holder> {
  const holder = createHolder(place);
  const asked = agent.token().set('DPoP', await holder.prove('POST', '/oauth2/token'));
  holder.nonce = (await asked.expect(400)).headers['dpop-nonce'];
  return holder;
}
