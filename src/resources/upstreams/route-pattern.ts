import type { Mapping } from '../../engines/mapping.ts';

/** The methods that a route may list. */
export const routeMethods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

export type RouteMethod = (typeof routeMethods)[number];

/** Requests that a scope of an API behind the gateway permits. */
export interface Route {
  methods: string[];
  /**
   * A path below the base URL. A segment `{name}` matches one segment, and a last segment `**` matches one or more
   * segments.
   */
  path: string;
}

const anyRest = '**';
const placeholder = /^\{[A-Za-z_][A-Za-z0-9_]{0,62}\}$/;
/**
 * The unreserved characters, `:`, `@` and the sub-delims (RFC 3986 section 2) without two: `;` begins path parameters,
 * which servers read differently, and `*` would look like a wildcard.
 */
const literal = /^[A-Za-z0-9\-._~!$&'()+,=:@]+$/;

/** Returns the segments of a path that begins with a slash; none for `/`. */
const segmentsOf = (path: string): string[] => (path === '/' ? [] : path.slice(1).split('/'));

/** Describes what is wrong with a route; undefined if it may be used. */
export function routeProblem(route: Route): string | undefined {
  const { methods, path } = route;
  if (methods.length === 0) return 'a route needs at least one method';
  const unknown = methods.find((method) => !(routeMethods as readonly string[]).includes(method));
  if (unknown !== undefined) return `method ${unknown} is not one of ${routeMethods.join(', ')}`;
  if (new Set(methods).size < methods.length) return 'a route lists a method twice';
  if (!path.startsWith('/')) return `path ${path} does not begin with a slash`;
  const problem = segmentsProblem(segmentsOf(path));
  return problem === undefined ? undefined : `path ${path} ${problem}`;
}

function segmentsProblem(segments: readonly string[]): string | undefined {
  for (const [position, segment] of segments.entries()) {
    if (segment === '') return 'has an empty segment';
    if (segment === '.' || segment === '..') return 'has a dot segment';
    if (segment === anyRest && position < segments.length - 1) return `has ${anyRest} before its end`;
    if (segment !== anyRest && !placeholder.test(segment) && !literal.test(segment)) {
      return `has the segment ${segment}: a segment is {name}, ${anyRest} at the end, or characters that need no encoding except ; and *`;
    }
  }
  return undefined;
}

/**
 * Whether a route permits a request. `segments` are those of the normalised path after the slug, as they were sent:
 * they are not decoded. `/` has none, and a path that ends with a slash has an empty last one, which only `**` matches,
 * together with at least one segment that is not empty. GET does not imply HEAD.
 */
export function matchesRoute(
  route: Route,
  request: { method: string; segments: readonly string[] },
): boolean {
  if (!route.methods.includes(request.method)) return false;
  const pattern = segmentsOf(route.path);
  const { segments } = request;
  if (pattern.at(-1) !== anyRest) {
    return pattern.length === segments.length && matchesEach(pattern, segments);
  }
  const fixed = pattern.length - 1;
  const rest = segments.slice(fixed);
  // Only the last segment may be empty, and not if it is the only one.
  const isPath = rest.every(
    (segment, position) => segment !== '' || (position > 0 && position === rest.length - 1),
  );
  return rest.length > 0 && isPath && matchesEach(pattern.slice(0, fixed), segments);
}

function matchesEach(pattern: readonly string[], segments: readonly string[]): boolean {
  return pattern.every((expected, position) => {
    const segment = segments[position];
    return placeholder.test(expected) ? segment !== '' : segment === expected;
  });
}

/** Returns the routes of a scope; none if it has no mapping to routes. */
export function routesOf(mapping: Mapping | undefined): Route[] {
  return mapping !== undefined && 'routes' in mapping ? [...mapping.routes] : [];
}

/** Describes what is wrong with what a scope of kind `http` means; undefined if it is a list of usable routes. */
export function routeMappingProblem(mapping: Mapping): string | undefined {
  if (!('routes' in mapping)) return 'a scope of an http resource maps to routes';
  const { routes } = mapping;
  if (routes.length === 0 || routes.length > 100) return 'routes needs 1 to 100 routes';
  return routes.map(routeProblem).find((problem) => problem !== undefined);
}
