import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  matchesRoute,
  routeMappingProblem,
  routeMethods,
  routeProblem,
  routesOf,
} from '../../../src/resources/upstreams/route-pattern.ts';

const on = (path: string, methods: string[] = ['GET']) => ({ methods, path });
/** The segments of a path after the slug, as the gateway splits it. */
const segments = (path: string): string[] => (path === '/' ? [] : path.slice(1).split('/'));
const matches = (pattern: string, path: string, method = 'GET'): boolean =>
  matchesRoute(on(pattern), { method, segments: segments(path) });

describe('a route', () => {
  it.each([
    '/',
    '/repos',
    '/repos/{owner}/{repo}/issues',
    '/repos/{owner}/**',
    '/**',
    '/v1/models:batch',
    "/a-b._~!$&'()+,=:@/x",
    '/{_a1}',
  ])('may have the path %s', (path) => {
    expect(routeProblem(on(path))).toBeUndefined();
  });

  it.each([
    ['', 'does not begin with a slash'],
    ['repos', 'does not begin with a slash'],
    ['//', 'has an empty segment'],
    ['/repos/', 'has an empty segment'],
    ['/repos//issues', 'has an empty segment'],
    ['/./repos', 'has a dot segment'],
    ['/repos/..', 'has a dot segment'],
    ['/**/issues', 'has ** before its end'],
    ['/repos/*', 'has the segment *'],
    ['/repos/a*', 'has the segment a*'],
    ['/%2e%2e', 'has the segment %2e%2e'],
    ['/a%20b', 'has the segment a%20b'],
    ['/a;b', 'has the segment a;b'],
    ['/a\\b', 'has the segment a\\b'],
    ['/a?b=c', 'has the segment a?b=c'],
    ['/a#b', 'has the segment a#b'],
    ['/a b', 'has the segment a b'],
    ['/é', 'has the segment é'],
    ['/a\n', 'has the segment a\n'],
    ['/{}', 'has the segment {}'],
    ['/{1a}', 'has the segment {1a}'],
    ['/{id}.json', 'has the segment {id}.json'],
    ['/{a', 'has the segment {a'],
  ])('may not have the path %j: it %s', (path, problem) => {
    expect(routeProblem(on(path))).toContain(problem);
  });

  it.each([
    [[], 'a route needs at least one method'],
    [['TRACE'], 'method TRACE is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'],
    [['get'], 'method get is not one of'],
    [['*'], 'method * is not one of'],
    [['GET', 'GET'], 'a route lists a method twice'],
  ])('may not have the methods %j', (methods, problem) => {
    expect(routeProblem(on('/', methods))).toContain(problem);
  });

  it('may list every method', () => {
    expect(routeProblem(on('/', [...routeMethods]))).toBeUndefined();
  });
});

describe('the routes of a scope', () => {
  it('are 1 to 100, each of them usable', () => {
    const one = on('/a');
    expect(routeMappingProblem({ routes: Array.from({ length: 100 }, () => one) })).toBeUndefined();
    for (const routes of [[], Array.from({ length: 101 }, () => one)]) {
      expect(routeMappingProblem({ routes })).toBe('routes needs 1 to 100 routes');
    }
    expect(routeMappingProblem({ routes: [one, on('/..')] })).toBe('path /.. has a dot segment');
  });

  it('are another mapping than that of a scope of a target', () => {
    expect(routeMappingProblem({ roles: ['reader'] })).toBe('a scope of an http resource maps to routes');
    expect(routesOf({ roles: ['reader'] })).toEqual([]);
    expect(routesOf(undefined)).toEqual([]);
    expect(routesOf({ routes: [on('/a')] })).toEqual([on('/a')]);
  });
});

describe('a request', () => {
  it.each([
    ['/', '/'],
    ['/repos', '/repos'],
    ['/repos/{owner}/{repo}/issues', '/repos/acme/app/issues'],
    ['/repos/{owner}', '/repos/a%20b'],
    ['/repos/{owner}', '/repos/**'],
    ['/**', '/a'],
    ['/**', '/a/b/c'],
    ['/**', '/a/b/'],
    ['/repos/{owner}/**', '/repos/acme/app'],
    ['/repos/{owner}/**', '/repos/acme/app/issues/1'],
  ])('to a path that the route %s permits is matched: %s', (pattern, path) => {
    expect(matches(pattern, path)).toBe(true);
  });

  it.each([
    ['/', '/repos'],
    ['/repos', '/'],
    ['/repos', '/Repos'],
    ['/repos', '/%72epos'],
    ['/repos', '/repos/'],
    ['/repos', '/repos/acme'],
    ['/repos/{owner}', '/repos'],
    ['/repos/{owner}', '/repos/'],
    ['/repos/{owner}', '/repos/acme/'],
    ['/repos/{owner}', '/repos/acme/app'],
    ['/repos/{owner}/issues', '/repos//issues'],
    ['/**', '/'],
    ['/repos/**', '/repos'],
    ['/repos/**', '/repos/'],
    ['/repos/**', '/repos//a'],
    ['/repos/**', '/repos/a//b'],
    ['/repos/{owner}/**', '/repos//a'],
    ['/repos/{owner}/**', '/users/acme/app'],
  ])('to another path than the route %s permits is not matched: %s', (pattern, path) => {
    expect(matches(pattern, path)).toBe(false);
  });

  it('with a method that the route does not list is not matched, even HEAD for GET', () => {
    const route = on('/a', ['GET', 'POST']);
    const permitted = ['GET', 'POST', 'HEAD', 'get', 'PUT', 'TRACE', ''].filter((method) =>
      matchesRoute(route, { method, segments: ['a'] }),
    );
    expect(permitted).toEqual(['GET', 'POST']);
  });

  it('is matched by a route without placeholders only if its path is that of the route', () => {
    const segment = fc.constantFrom('a', 'b', '', 'A', '%61', 'a;b', '**', '{x}', '..');
    const literals = fc.array(fc.constantFrom('a', 'b', 'A'), { maxLength: 4 });
    fc.assert(
      fc.property(literals, fc.array(segment, { maxLength: 4 }), (pattern, path) => {
        const route = on(`/${pattern.join('/')}`);
        const isSame = JSON.stringify(pattern) === JSON.stringify(path);
        expect(matchesRoute(route, { method: 'GET', segments: path })).toBe(isSame);
      }),
      { seed: 1, numRuns: 2_000 },
    );
  });
});
