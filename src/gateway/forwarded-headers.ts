import { credentialHeaders } from './call-credential.ts';

/** Headers that concern one connection only (RFC 9110 section 7.6.1). */
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Request headers that the gateway writes itself, or that would tell the upstream about the agent's network. */
const ownRequestHeaders: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'expect',
  'accept-encoding',
  'cookie',
  'forwarded',
  'via',
  'x-real-ip',
]);

/** Response headers that are the upstream's statements to its own clients, or about a whole origin. */
const ownResponseHeaders: ReadonlySet<string> = new Set([
  'alt-svc',
  'clear-site-data',
  'content-length',
  'set-cookie',
  'strict-transport-security',
  'www-authenticate',
]);

/** Returns the lower-case names that `Connection` headers declare as hop-by-hop. */
function declaredHopByHop(rawHeaders: readonly string[]): Set<string> {
  const names = new Set<string>();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2)
    if (rawHeaders[i]?.toLowerCase() === 'connection')
      for (const name of (rawHeaders[i + 1] ?? '').split(',')) names.add(name.trim().toLowerCase());
  return names;
}

/** Returns the headers, names and values in turn, without those whose lower-case name is dropped. */
function withoutHeaders(rawHeaders: readonly string[], isDropped: (name: string) => boolean): string[] {
  const declared = declaredHopByHop(rawHeaders);
  const kept: string[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const [name = '', value = ''] = [rawHeaders[i], rawHeaders[i + 1]];
    const lower = name.toLowerCase();
    if (!hopByHop.has(lower) && !declared.has(lower) && !isDropped(lower)) kept.push(name, value);
  }
  return kept;
}

/**
 * Returns the request headers for the upstream: those of the agent that may pass, and the credential of the
 * resource. Compression is not requested, because a credential that a compressed response echoes could not be found.
 */
export function toUpstreamHeaders(
  rawHeaders: readonly string[],
  credential: readonly [name: string, value: string] | undefined,
): string[] {
  const credentialName = credential?.[0].toLowerCase();
  const passed = withoutHeaders(
    rawHeaders,
    (name) =>
      credentialHeaders.has(name) ||
      ownRequestHeaders.has(name) ||
      name.startsWith('x-forwarded-') ||
      name === credentialName,
  );
  return [...passed, 'Accept-Encoding', 'identity', ...(credential ?? [])];
}

/** Returns the response headers for the agent: those of the upstream that may pass. */
export function toAgentHeaders(rawHeaders: readonly string[]): string[] {
  return withoutHeaders(rawHeaders, (name) => ownResponseHeaders.has(name) || name === 'hallpass-call-id');
}

/** Returns the value of a header; undefined if it is absent or repeated with different values. */
export function onlyValue(rawHeaders: readonly string[], name: string): string | undefined {
  const values = new Set<string>();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2)
    if (rawHeaders[i]?.toLowerCase() === name) values.add(rawHeaders[i + 1] ?? '');
  return values.size === 1 ? [...values][0] : undefined;
}
