/** The access token of a call, and the scheme by which it was sent. */
export interface CallCredential {
  scheme: 'Bearer' | 'DPoP';
  token: string;
}

export type CallCredentials =
  | ({ ok: true } & CallCredential)
  | { ok: false; reason: 'none' | 'several' | 'malformed' };

/** The headers in which SDKs of model vendors send their key, besides `Authorization`. */
const keyHeaders: readonly string[] = ['x-api-key', 'api-key', 'x-goog-api-key'];

const holdsCredential = (name: string): boolean => name === 'authorization' || keyHeaders.includes(name);

/** The headers that carry the credential of the agent. They are never sent to the upstream. */
export const credentialHeaders: ReadonlySet<string> = new Set(['authorization', 'dpop', ...keyHeaders]);

const authorizationPattern = /^(Bearer|DPoP) +([A-Za-z0-9\-._~+/]+=*) *$/i;
const tokenPattern = /^[A-Za-z0-9\-._~+/]+=*$/;

/** Reads the one credential of a call from its raw headers, in which names and values alternate. */
export function readCallCredential(rawHeaders: readonly string[]): CallCredentials {
  const found: [name: string, value: string][] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] ?? '').toLowerCase();
    if (holdsCredential(name)) found.push([name, rawHeaders[i + 1] ?? '']);
  }
  const [first, ...more] = found;
  if (first === undefined) return { ok: false, reason: 'none' };
  if (more.length > 0) return { ok: false, reason: 'several' };
  const [name, value] = first;
  if (name !== 'authorization')
    return tokenPattern.test(value)
      ? { ok: true, scheme: 'Bearer', token: value }
      : { ok: false, reason: 'malformed' };
  const [, scheme = '', token = ''] = authorizationPattern.exec(value) ?? [];
  if (token === '') return { ok: false, reason: 'malformed' };
  return { ok: true, scheme: scheme.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer', token };
}

/**
 * Whether a request contains its access token a second time, as it is or percent-encoded: in its URL or in another
 * header, both of which the upstream may get. `token` is one that was accepted, so it is in no other text by chance.
 */
export function repeatsToken(
  token: string,
  { rawHeaders, url }: { rawHeaders: readonly string[]; url: string },
): boolean {
  const contains = (text: string): boolean => text.includes(token) || percentDecode(text).includes(token);
  const others: string[] = [url];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const [name = '', value = ''] = [rawHeaders[i], rawHeaders[i + 1]];
    if (!holdsCredential(name.toLowerCase())) others.push(name, value);
  }
  return others.some(contains);
}

/** Decodes each percent-encoded byte, even if other parts of the text are not encoded correctly. */
const percentDecode = (text: string): string =>
  text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
