import { SignJWT } from 'jose';
import { createAddressRules } from '../../src/outbound/address-rules.ts';
import { createOutboundClient, type OutboundClient } from '../../src/outbound/outbound-client.ts';
import { type HttpsServer, startHttpsServer, testCa } from '../outbound/https-server.ts';
import { testIssuer } from './broker.ts';
import { createKey, type TestKey } from './key-agent.ts';

/** Creates a client for the servers of tests: on the loopback interface, with the tests' certificate authority. */
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
  /** The state that determines its responses. Tests change it. */
  state: { keys: TestKey[]; named: string; jwksUri: string; isDown: boolean; hold: Promise<void> };
  key: TestKey;
  /** Issues a token for the workload `sub`, with the broker as audience, valid for ten minutes. */
  token(sub: string, change?: TokenChange): Promise<string>;
}

interface TokenChange {
  claims?: object;
  header?: object;
  key?: TestKey;
}

/** Issues a token of an issuer for `sub`, with the broker as audience, valid for ten minutes. */
export function signIssuerToken(
  { issuer, key, now }: { issuer: string; key: TestKey; now: () => Date },
  sub: string,
  { claims = {}, header = {}, key: by = key }: TokenChange = {},
): Promise<string> {
  const at = Math.floor(now().getTime() / 1000);
  return new SignJWT({ iss: issuer, sub, aud: testIssuer, iat: at, exp: at + 600, ...claims })
    .setProtectedHeader({ alg: by.alg, kid: by.kid, ...header })
    .sign(by.privateKey);
}

/** Starts an issuer of platform tokens that publishes its keys by discovery over HTTPS. */
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
    token: (sub, change) => signIssuerToken({ issuer, key, now: () => clock.now() }, sub, change),
  };
}
