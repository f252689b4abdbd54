import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';

const root = join(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'hallpass-contract-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

/** Returns the result of `npm run generate:api` after `change` of the sources. */
function bundle(change: (api: string) => void = () => {}): { text: string; output: string } {
  const api = join(directory, 'api');
  const bundled = join(directory, 'openapi.yaml');
  rmSync(api, { recursive: true, force: true });
  rmSync(bundled, { force: true });
  cpSync(join(root, 'api'), api, { recursive: true });
  change(api);
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    [
      ...[join(root, 'node_modules/@redocly/cli/bin/cli.js'), 'bundle', join(api, 'openapi.yaml')],
      ...['-o', bundled],
    ],
    {
      cwd: root,
      encoding: 'utf8',
      env: { ...process.env, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' },
    },
  );
  const output = `${stdout}${stderr}`;
  return { text: status === 0 ? readFileSync(bundled, 'utf8') : '', output };
}

const replaceIn = (path: string, from: string, to: string): void =>
  writeFileSync(path, readFileSync(path, 'utf8').replace(from, to));

describe('the contract', () => {
  it('openapi.yaml is the bundle of api/', () => {
    const { text, output } = bundle();
    expect(text === read('openapi.yaml'), `run npm run generate:api\n${output}`).toBe(true);
  });

  it('changes when its sources change', () => {
    const { text } = bundle((api) =>
      replaceIn(join(api, 'operation.yaml'), 'Check that the process runs', 'x'),
    );
    expect(text).toContain('summary: x');
    expect(text === read('openapi.yaml')).toBe(false);
  });

  it('is also in src/openapi.json, which the broker serves and validates requests with', () => {
    expect(JSON.parse(read('src/openapi.json')), 'run npm run generate:api').toEqual(
      parse(read('openapi.yaml')),
    );
  });

  it('has every path and every component of the sources, each of which is defined once', () => {
    const files = readdirSync(join(root, 'api'));
    const texts = new Map(files.map((file) => [file, read(join('api', file))]));
    expect(problemsOf(texts, parse(read('openapi.yaml')))).toEqual([]);
  });

  it('is reported if it lacks an unreferenced component, or if two components have the same name', () => {
    const bundled = { paths: { '/a': {} }, components: { schemas: { A: {} } } };
    const a = 'paths: { /a: {} }\ncomponents: { schemas: { A: {}, Unused: {} } }';
    const b = 'components: { schemas: { A: { type: string } } }';
    expect(problemsOf(new Map(Object.entries({ 'a.yaml': a, 'b.yaml': b })), bundled)).toEqual([
      'a.yaml: schemas/Unused is not in openapi.yaml',
      'b.yaml: schemas/A is in another file, too',
    ]);
  });
});

type Bundled = { paths: object; components: Record<string, object> };

/**
 * Lists components that the bundle lacks or renames: Redocly renames the second of two with the same name, and omits
 * unreferenced ones.
 */
function problemsOf(sources: ReadonlyMap<string, string>, bundled: Bundled): string[] {
  const problems: string[] = [];
  const seen = new Set<string>();
  for (const [file, text] of sources) {
    const { paths = {}, components = {} } = parse(text, { merge: true });
    for (const path of Object.keys(paths)) {
      if (!(path in bundled.paths)) problems.push(`${file}: ${path} is not in openapi.yaml`);
    }
    for (const [section, entries] of Object.entries<object>(components)) {
      for (const name of Object.keys(entries)) {
        const component = `${section}/${name}`;
        if (!(name in (bundled.components[section] ?? {})))
          problems.push(`${file}: ${component} is not in openapi.yaml`);
        if (seen.has(component)) problems.push(`${file}: ${component} is in another file, too`);
        seen.add(component);
      }
    }
  }
  return problems;
}
