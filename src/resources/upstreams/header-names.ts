/**
 * Returns the name of a header in the form in which names are compared: lower case, and with `-` for `_`. A CGI server
 * gives both spellings to the program as one variable (RFC 3875 section 4.1.18), so `X_Real_IP` may count as `X-Real-IP`.
 */
export const comparableName = (name: string): string => name.toLowerCase().replaceAll('_', '-');

/** Headers that concern one connection only (RFC 9110 section 7.6.1). */
const connectionHeaders: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection'],
  ...['te', 'trailer', 'transfer-encoding', 'upgrade'],
]);

/** Request headers that the gateway writes itself or never sends to an upstream. */
const gatewayHeaders: ReadonlySet<string> = new Set([
  ...['host', 'content-length', 'expect', 'accept-encoding', 'cookie', 'dpop'],
  // With them, an agent could fetch an echoed credential in parts that are not recognised.
  ...['range', 'if-range'],
  // They would tell the upstream where the agent is, or make it believe that the agent is elsewhere.
  ...['forwarded', 'via', 'x-real-ip', 'x-client-ip', 'true-client-ip', 'x-cluster-client-ip'],
  'cf-connecting-ip',
  // With them, a proxy tells the server behind it who the client is.
  ...['client-cert', 'x-client-cert', 'remote-user', 'x-remote-user'],
  // With them, a server takes another method or path than those that a route permitted.
  ...['x-http-method', 'x-http-method-override', 'x-method-override', 'x-original-method'],
  ...['x-original-url', 'x-original-uri', 'x-rewrite-url'],
]);

/** Whether a header concerns one connection only. `name` has the form of `comparableName`. */
export const isConnectionHeader = (name: string): boolean => connectionHeaders.has(name);

/** Whether the gateway writes a request header itself or never forwards it. `name` has the form of `comparableName`. */
export const isGatewayHeader = (name: string): boolean =>
  gatewayHeaders.has(name) || name === 'x-forwarded' || name.startsWith('x-forwarded-');
