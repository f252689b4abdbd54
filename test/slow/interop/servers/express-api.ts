import express from 'express';
import { type AuthResult, auth, requiredScopes } from 'express-oauth2-jwt-bearer';

/** Creates an API with express-oauth2-jwt-bearer: `/chat` needs the scope `chat`. */
export function expressApi({ issuer, identifier }: { issuer: string; identifier: string }) {
  const app = express();
  const authenticate = auth({
    issuer,
    jwksUri: `${issuer}/oauth2/jwks`,
    audience: identifier,
    tokenSigningAlg: 'ES256',
    strict: true, // the type must be at+jwt, and the claims those of RFC 9068
  });
  app.get('/chat', authenticate, requiredScopes('chat'), (request, response) => {
    const { payload } = request.auth as unknown as AuthResult;
    response.json({ agent: payload.sub });
  });
  return app;
}
