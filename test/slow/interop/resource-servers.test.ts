import { beforeAll, describe, expect, it } from 'vitest';
import { listen } from './listen.ts';
import { expressApi } from './servers/express-api.ts';
import { joseApi } from './servers/jose-api.ts';
import { startTokens, type TokenService, type Tokens } from './tokens.ts';

/** Tests with libraries that verify tokens offline, with the JWK Set. */
let service: TokenService;
beforeAll(async () => {
  const scopes = { good: 'chat', narrow: 'models:write' };
  service = await startTokens({ identifier: 'https://llm.example/v1', scopes });
});

describe.each([
  ['express-oauth2-jwt-bearer', expressApi, 401],
  ['jose', joseApi, 500],
])('%s', (_, api, withoutKeys) => {
  let url: string;
  beforeAll(async () => {
    const { issuer, resource } = service;
    url = await listen(api({ issuer, identifier: resource.identifier }));
  });
  const call = (authorization?: string) =>
    fetch(`${url}/chat`, authorization === undefined ? {} : { headers: { authorization } });

  it('accepts tokens for it until they expire, and identifies their agent', async () => {
    for (const token of [service.tokens.good, service.tokens.aged]) {
      const answer = await call(`Bearer ${token}`);
      expect(answer.status).toBe(200);
      expect(await answer.json()).toEqual({ agent: service.agentId });
    }
  });

  it.each<[keyof Tokens, number, string]>([
    ['expired', 401, 'invalid_token'],
    ['otherAudience', 401, 'invalid_token'],
    ['otherIssuer', 401, 'invalid_token'],
    ['garbage', 401, 'invalid_token'],
    ['narrow', 403, 'insufficient_scope'],
  ])('refuses a token with this fault: %s', async (name, status, error) => {
    const answer = await call(`Bearer ${service.tokens[name]}`);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('www-authenticate')).toContain(`error="${error}"`);
  });

  it('accepts no token when the keys cannot be read', async () => {
    const alone = await listen(
      api({ issuer: 'http://127.0.0.1:1', identifier: service.resource.identifier }),
    );
    const answer = await fetch(`${alone}/chat`, {
      headers: { authorization: `Bearer ${service.tokens.good}` },
    });
    expect(answer.status).toBe(withoutKeys);
  });

  it('refuses requests without a token', async () => {
    expect((await call()).status).toBe(401);
    expect([400, 401]).toContain((await call(`Basic ${service.tokens.good}`)).status);
  });
});
