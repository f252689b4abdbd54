import { SignJWT } from 'jose';
import { createAddressRules } from '../../src/outbound/address-rules.ts';
import { createOutboundClient, type OutboundClient } from '../../src/outbound/outbound-client.ts';
import { type HttpsServer, startHttpsServer, testCa } from '../outbound/https-server.ts';
import { testIssuer } from './broker.ts';
import { createKey, type TestKey } from './key-agent.ts';

/** Calls the servers of tests: on loopback, by the certificate of their own authority. */
export function createTestOutbound(allowed = ['127.0.0.0/8', '::1/128']): OutboundClient {
  return createOutboundClient({
    isAllowed: createAddressRules(allowed),
    ca: testCa,
    timeoutMs: 1_000,
  });
}

export interface Platform {
  issuer: string;
  server: HttpsServer;
  /** What it answers with: tests change it. */
  state: { keys: TestKey[]; named: string; jwksUri: string; isDown: boolean; hold: Promise<void> };
  key: TestKey;
  /** A token for us of the workload `sub`, good for ten minutes. */
  token(sub: string, change?: TokenChange): Promise<string>;
}

interface TokenChange {
  claims?: object;
  header?: object;
  key?: TestKey;
}

/** What an issuer says of `sub` to us, good for ten minutes. */
export function sayOf(
  { issuer, key, now }: { issuer: string; key: TestKey; now: () => Date },
  sub: string,
  { claims = {}, header = {}, key: by = key }: TokenChange = {},
): Promise<string> {
  const at = Math.floor(now().getTime() / 1000);
  return new SignJWT({ iss: issuer, sub, aud: testIssuer, iat: at, exp: at + 600, ...claims })
    .setProtectedHeader({ alg: by.alg, kid: by.kid, ...header })
    .sign(by.privateKey);
}

/** An issuer of workload tokens that is found by discovery over https. */
export async function startPlatform(clock: { now: () => Date }): Promise<Platform> {
  const key = createKey();
  const state = { keys: [key], named: '', jwksUri: '', isDown: false, hold: Promise.resolve() };
  const server = await startHttpsServer((request, response) => {
    response.statusCode = state.isDown ? 500 : 200;
    const document =
      request.url === '/.well-known/openid-configuration'
        ? { issuer: state.named, jwks_uri: state.jwksUri }
        : { keys: state.keys.map(({ jwk }) => jwk) };
    void state.hold.then(() => response.end(JSON.stringify(document)));
  });
  const issuer = `https://localhost:${server.port}`;
  state.named = issuer;
  state.jwksUri = `${issuer}/keys`;
  return {
    issuer,
    server,
    state,
    key,
    token: (sub, change) => sayOf({ issuer, key, now: () => clock.now() }, sub, change),
  };
}
