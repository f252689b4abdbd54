/**
 * The request target of a call (RFC 9112 section 3.2): the slug of the resource, and the rest of the path, normalised.
 * It has nothing to do with the targets of leases.
 */
export interface CallTarget {
  slug: string;
  /** The path below the slug, beginning with a slash. It is both what routes are matched with and what is sent. */
  path: string;
  /** The segments of `path`, still percent-encoded. */
  segments: readonly string[];
  /** The query with its question mark, unchanged; empty if there is no query. */
  query: string;
}

export type ParsedTarget = ({ ok: true } & CallTarget) | { ok: false; problem: string };

const slugPattern = /^[a-z0-9][a-z0-9-]{0,62}$/;
/** The characters of a path segment (RFC 3986 section 3.3) without `;`, which some servers take for the start of parameters. */
const segmentCharacters = /^(?:[A-Za-z0-9\-._~!$&'()*+,=:@]|%[0-9A-F]{2})*$/;
/** Visible ASCII without `#` (RFC 3986 section 3.4). */
const queryCharacters = /^[!-"$-~]*$/;
const unreserved = /^[A-Za-z0-9\-._~]$/;
/** Encoded characters that a server behind the gateway could read as a separator, the end of the path or a second encoding. */
const ambiguous = /%(?:2F|5C|25|3B|3F|23|[01][0-9A-F]|7F)/;
/** Parameters that would put a credential in a URL (RFC 6750 section 2.3). */
const credentialParameters: readonly string[] = ['access_token'];

/**
 * Parses the target of a call in origin form, `/{slug}/{path}`. Percent-encoding is normalised once (RFC 3986 section 6.2.2):
 * hexadecimal digits become upper case, and unreserved characters are decoded. A path that another server could read in
 * a second way is refused: dot segments, empty segments, `\` and `;`, the encoded forms of
 * `/`, `\`, `;`, `?`, `#`, `%` and control characters, and encoded bytes that are not UTF-8.
 */
export function parseCallTarget(target: string): ParsedTarget {
  const refuse = (problem: string): ParsedTarget => ({ ok: false, problem });
  if (!target.startsWith('/')) return refuse('the request target must be a path');
  const end = target.indexOf('?');
  const query = end === -1 ? '' : target.slice(end);
  if (!queryCharacters.test(query)) return refuse('the query has characters that a URI does not have');
  const named = [...new URLSearchParams(query).keys()].find((name) => credentialParameters.includes(name));
  if (named !== undefined) return refuse(`the query must not have ${named}: send the token in a header`);
  const encoded = (end === -1 ? target : target.slice(0, end)).slice(1).split('/');
  const [slug = '', ...segments] = encoded.map(normaliseSegment);
  if (!slugPattern.test(slug)) return refuse('the path must begin with the slug of a resource');
  const problem = segments.map(segmentProblem).find((found) => found !== undefined);
  if (problem !== undefined) return refuse(problem);
  const isRoot = segments.length <= 1 && (segments[0] ?? '') === '';
  // A path may end with a slash.
  if (segments.slice(0, -1).includes('')) return refuse('the path must not have an empty segment');
  return { ok: true, slug, path: `/${segments.join('/')}`, segments: isRoot ? [] : segments, query };
}

/** Decodes unreserved characters and converts hexadecimal digits to upper case. */
function normaliseSegment(segment: string): string {
  return segment.replaceAll(/%[0-9A-Fa-f]{2}/g, (encoded) => {
    const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16));
    return unreserved.test(character) ? character : encoded.toUpperCase();
  });
}

function segmentProblem(segment: string): string | undefined {
  if (segment === '.' || segment === '..') return 'the path must not have dot segments';
  if (ambiguous.test(segment)) return 'the path must not have encoded separators or control characters';
  if (!segmentCharacters.test(segment)) return 'the path has characters that are not allowed';
  return isUtf8(segment) ? undefined : 'the path has encoded bytes that are not UTF-8';
}

function isUtf8(segment: string): boolean {
  try {
    decodeURIComponent(segment);
    return true;
  } catch {
    return false;
  }
}
