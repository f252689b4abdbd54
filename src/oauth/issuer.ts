/** An issuer identifier: `https://HOST[:PORT]`, nothing after it. */
export type Issuer = string & { readonly __issuer: unique symbol };

const loopbackHosts: ReadonlySet<string> = new Set(['127.0.0.1', 'localhost', '[::1]']);

/**
 * Reads an issuer (RFC 8414 section 2): https, no path, query, fragment or credentials, no trailing slash, in its
 * normal form, so that comparing it as text is exact. `http` passes on loopback only. Undefined if it is not one.
 */
export function parseIssuer(text: string): Issuer | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const secure = url.protocol === 'https:' || (url.protocol === 'http:' && loopbackHosts.has(url.hostname));
  return secure && url.origin === text ? (text as Issuer) : undefined;
}
