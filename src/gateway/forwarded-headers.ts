import { comparableName, isConnectionHeader, isGatewayHeader } from '../resources/upstreams/header-names.ts';
import { credentialHeaders } from './call-credential.ts';

/** Response headers that the gateway never passes on, in the form of `comparableName`. */
const droppedResponseHeaders: ReadonlySet<string> = new Set([
  'content-length',
  // The upstream's statements to its own client, and those that the gateway makes itself.
  ...['set-cookie', 'www-authenticate', 'dpop-nonce', 'ratelimit', 'ratelimit-policy', 'hallpass-call-id'],
  // They hold for the whole origin of the gateway, and so for other upstreams.
  ...['alt-svc', 'clear-site-data', 'strict-transport-security', 'nel', 'report-to', 'reporting-endpoints'],
  ...['accept-ch', 'critical-ch', 'public-key-pins', 'public-key-pins-report-only'],
  ...['origin-agent-cluster', 'service-worker-allowed'],
  // It sends a browser elsewhere, as a redirect would.
  'refresh',
  // A proxy in front of the gateway would send one of its own files instead of the response.
  'x-sendfile',
]);

/** Returns the comparable names that `Connection` headers declare as concerning the connection only. */
function declaredNames(rawHeaders: readonly string[]): Set<string> {
  return new Set(valuesOf(rawHeaders, 'connection').map(comparableName));
}

/** Returns the headers, names and values in turn, without those whose comparable name is dropped. */
function withoutHeaders(rawHeaders: readonly string[], isDropped: (name: string) => boolean): string[] {
  const declared = declaredNames(rawHeaders);
  const kept: string[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const [name = '', value = ''] = [rawHeaders[i], rawHeaders[i + 1]];
    const comparable = comparableName(name);
    if (!isConnectionHeader(comparable) && !declared.has(comparable) && !isDropped(comparable))
      kept.push(name, value);
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
  const credentialName = credential === undefined ? undefined : comparableName(credential[0]);
  const passed = withoutHeaders(
    rawHeaders,
    (name) => credentialHeaders.has(name) || isGatewayHeader(name) || name === credentialName,
  );
  return [...passed, 'Accept-Encoding', 'identity', ...(credential ?? [])];
}

/** Returns the response headers for the agent: those of the upstream that may pass. */
export function toAgentHeaders(rawHeaders: readonly string[]): string[] {
  return withoutHeaders(
    rawHeaders,
    (name) => droppedResponseHeaders.has(name) || name.startsWith('x-accel-'),
  );
}

/** Returns the elements of a header that is a list, in lower case, of all its lines (RFC 9110 section 5.6.1). */
export function valuesOf(rawHeaders: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2)
    if (rawHeaders[i]?.toLowerCase() === name) values.push(...(rawHeaders[i + 1] ?? '').split(','));
  return values.map((value) => value.trim().toLowerCase()).filter((value) => value !== '');
}

/** Returns the value of a header; undefined if it is absent or repeated with different values. */
export function onlyValue(rawHeaders: readonly string[], name: string): string | undefined {
  const values = new Set<string>();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2)
    if (rawHeaders[i]?.toLowerCase() === name) values.add(rawHeaders[i + 1] ?? '');
  return values.size === 1 ? [...values][0] : undefined;
}
