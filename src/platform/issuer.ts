/** An issuer identifier of the exact form `https://HOST[:PORT]`. */
export type Issuer = string & { readonly __issuer: unique symbol };

const loopbackHosts: ReadonlySet<string> = new Set(['127.0.0.1', 'localhost', '[::1]']);

/**
 * Parses an issuer (RFC 8414 section 2): https, without path, query, fragment or credentials, in normal form, so that
 * a comparison as text is exact. Allows `http` on loopback hosts. Returns undefined if it is not valid.
 */
export function parseIssuer(text: string): Issuer | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const secure = url.protocol === 'https:' || (url.protocol === 'http:' && loopbackHosts.has(url.hostname));
  return secure && url.origin === text ? (text as Issuer) : undefined;
}
