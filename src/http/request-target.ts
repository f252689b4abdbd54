import type { IncomingMessage } from 'node:http';

const absoluteForm = /^https?:\/\/[^/?#]+/i;
/** Visible ASCII without `#`: what an HTTP parser lets through besides is no URI (RFC 3986 appendix A). */
const originForm = /^\/[!-"$-~]*$/;

/**
 * A request's target in origin form; undefined if it is none that a server takes. The absolute form is one (RFC 9112
 * section 3.2.2), and which host it names is no matter; `*` is one by itself (section 3.2.4).
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

/** Whether percent-encoding in the path stands for UTF-8: what routes decode must not fail before they are reached. */
function isDecodable(target: string): boolean {
  try {
    decodeURIComponent(target.split('?', 1)[0] ?? '');
    return true;
  } catch {
    return false;
  }
}

/** The path of a request whose target is in origin form. */
export function pathOf(request: IncomingMessage): string {
  const url = request.url ?? '';
  const end = url.indexOf('?');
  return end === -1 ? url : url.slice(0, end);
}
