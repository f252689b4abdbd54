import express from 'express';
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';

/** Creates an API with jose: `/chat` needs the scope `chat`. */
export function joseApi({ issuer, identifier }: { issuer: string; identifier: string }) {
  const keys = createRemoteJWKSet(new URL(`${issuer}/oauth2/jwks`), { cacheMaxAge: 300_000 });
  const terms = {
    issuer,
    audience: identifier,
    typ: 'at+jwt',
    algorithms: ['ES256'],
    requiredClaims: ['exp', 'scope'],
  };
  const app = express();
  app.get('/chat', async (request, response) => {
    const [scheme = '', token = ''] = (request.headers.authorization ?? '').split(' ');
    try {
      if (scheme.toLowerCase() !== 'bearer') throw new errors.JWTInvalid('no bearer token');
      const { payload } = await jwtVerify(token, keys, terms);
      const isAllowed = String(payload.scope).split(' ').includes('chat');
      if (isAllowed) response.json({ agent: payload.sub });
      else
        response.status(403).set('WWW-Authenticate', 'Bearer error="insufficient_scope", scope="chat"').end();
    } catch (error) {
      // Keys that cannot be read are not a fault of the token.
      if (!(error instanceof errors.JOSEError)) throw error;
      response.status(401).set('WWW-Authenticate', 'Bearer error="invalid_token"').end();
    }
  });
  return app;
}
