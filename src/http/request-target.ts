import type { IncomingMessage } from 'node:http';

const absoluteForm = /^https?:\/\/[^/?#]+/i;
/**
 * Visible ASCII without `#`. An HTTP parser accepts more characters, but they are not valid in a URI (RFC 3986
 * appendix A).
 */
const originForm = /^\/[!-"$-~]*$/;

/**
 * Returns a request target in origin form, or undefined if it is not valid. Accepts the absolute form with any host
 * (RFC 9112 section 3.2.2), and returns `*` unchanged (section 3.2.4).
 */
export function toOriginForm(target: string): string | undefined {
  if (target === '*') return target;
  if (!isDecodable(target)) return undefined;
  const authority = target.startsWith('/') ? undefined : absoluteForm.exec(target)?.[0];
  if (authority === undefined) return originForm.test(target) ? target : undefined;
  if (!URL.canParse(authority)) return undefined;
  const rest = target.slice(authority.length);
  const local = rest.startsWith('/') ? rest : `/${rest}`;
  return originForm.test(local) ? local : undefined;
}

/**
 * Whether the percent-encoding of the path is valid UTF-8. Express decodes path parameters before any handler of ours
 * runs.
 */
function isDecodable(target: string): boolean {
  try {
    decodeURIComponent(target.split('?', 1)[0] ?? '');
    return true;
  } catch {
    return false;
  }
}

/** Returns the path of a request whose target is in origin form. */
export function pathOf(request: IncomingMessage): string {
  const url = request.url ?? '';
  const end = url.indexOf('?');
  return end === -1 ? url : url.slice(0, end);
}
