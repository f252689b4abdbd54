import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { atEnd } from '../../support/at-end.ts';

/** Each check of `npm run check` runs on violations in a separate project, and must report every one. */
const root = join(import.meta.dirname, '../../..');
const tools = {
  biome: ['@biomejs/biome/bin/biome', 'check', 'src'],
  eslint: ['eslint/bin/eslint.js', '--format', 'json', 'src'],
  tsc: ['typescript/bin/tsc', '--noEmit'],
  depcruise: ['dependency-cruiser/bin/dependency-cruise.mjs', '--config', '.dependency-cruiser.cjs', 'src'],
  knip: ['knip/bin/knip.js', '--include', 'files,exports'],
  redocly: ['@redocly/cli/bin/cli.js', 'lint', 'src/openapi.yaml'],
  spectral: ['@stoplight/spectral-cli/dist/index.js', 'lint', '--fail-severity=hint', 'src/openapi.yaml'],
} as const;
type Tool = keyof typeof tools;

const configurations = [
  'package.json',
  'tsconfig.json',
  'biome.json',
  '.gitignore',
  'eslint.config.js',
  'knip.json',
  'redocly.yaml',
  '.spectral.yaml',
  '.dependency-cruiser.cjs',
];

function createProject(files: Record<string, string>): string {
  const project = mkdtempSync(join(tmpdir(), 'hallpass-guards-'));
  atEnd(async () => rmSync(project, { recursive: true }));
  for (const file of configurations) cpSync(join(root, file), join(project, file));
  symlinkSync(join(root, 'node_modules'), join(project, 'node_modules'));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(project, name)), { recursive: true });
    writeFileSync(join(project, name), content);
  }
  return project;
}

async function run(tool: Tool, files: Record<string, string>) {
  const [bin, ...args] = tools[tool];
  const child = spawn(process.execPath, [join(root, 'node_modules', bin), ...args], {
    cwd: createProject(files),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { status: await exited, stdout, output: `${stdout}${stderr}` };
}

const long = (lines: number) => Array.from({ length: lines }, (_, i) => `  const v${i} = ${i};`).join('\n');

interface Violation {
  what: string;
  files: Record<string, string>;
  /** The texts that the report must have, each on its own line or within one. */
  report: string | RegExp;
}

/** All violations for a tool are in one project and one run, because the start of a tool takes longer than its work. */
const violations: Record<Exclude<Tool, 'eslint'>, Violation[]> = {
  biome: [
    {
      what: 'unformatted code',
      files: { 'src/format.ts': 'export const a={b:1}\n' },
      report: /^src\/format\.ts format /m,
    },
    {
      what: 'console output',
      files: { 'src/console.ts': "console.log('x');\n" },
      report: /^src\/console\.ts.* lint\/suspicious\/noConsole /m,
    },
    {
      what: 'any',
      files: { 'src/any.ts': 'export const a: any = 1;\n' },
      report: /^src\/any\.ts.* lint\/suspicious\/noExplicitAny /m,
    },
  ],
  tsc: [
    {
      what: 'a type error',
      files: { 'src/type.ts': 'export const a: string = 1;\n' },
      report: /^src\/type\.ts.*TS2322/m,
    },
    {
      what: 'an unchecked index',
      files: { 'src/index-access.ts': 'export const f = (a: string[]): string => a[0];\n' },
      report: /^src\/index-access\.ts.*TS2322/m,
    },
    { what: 'an enum', files: { 'src/enum.ts': 'export enum E { A }\n' }, report: /^src\/enum\.ts.*TS1294/m },
  ],
  depcruise: [
    {
      what: 'a store that imports a service',
      files: {
        'src/grants/store.ts': "import './service.ts';\n",
        'src/grants/service.ts': 'export const a = 1;\n',
      },
      report: /store-below-service: src\/grants\/store\.ts/,
    },
    {
      what: 'SQL in a route',
      files: {
        'src/resources/routes.ts': "import './store.ts';\n",
        'src/resources/store.ts': 'export const a = 1;\n',
      },
      report: /routes-do-no-sql: src\/resources\/routes\.ts/,
    },
    {
      what: 'express in a service',
      files: { 'src/policies/service.ts': "import 'express';\n" },
      report: /express-only-at-the-edge: src\/policies\/service\.ts/,
    },
    {
      what: 'a folder that imports one above it',
      files: {
        'src/agents/service.ts': "import '../requests/service.ts';\n",
        'src/requests/service.ts': 'export const a = 1;\n',
      },
      report: /agents-imports-only-folders-below: src\/agents\/service\.ts/,
    },
    {
      what: 'a folder that no layer lists',
      files: {
        'src/attic/thing.ts': "import '../platform/box.ts';\n",
        'src/platform/box.ts': 'export const a = 1;\n',
      },
      report: /every-folder-is-listed: src\/attic\/thing\.ts/,
    },
    {
      what: 'an import of a folder that no layer lists',
      files: {
        'src/keys/service.ts': "import '../cellar/thing.ts';\n",
        'src/cellar/thing.ts': 'export const a = 1;\n',
      },
      report: /imports-only-listed-folders: src\/keys\/service\.ts/,
    },
    {
      what: "another folder's store",
      files: {
        'src/tokens/mint.ts': "import '../keys/store.ts';\n",
        'src/keys/store.ts': 'export const a = 1;\n',
      },
      report: /a-store-belongs-to-its-folder: src\/tokens\/mint\.ts/,
    },
    {
      what: 'a statement in a subfolder of another folder',
      files: {
        'src/requests/review.ts': "import '../tokens/store/one.ts';\n",
        'src/tokens/store/one.ts': 'export const a = 1;\n',
      },
      report: /a-store-belongs-to-its-folder: src\/requests\/review\.ts/,
    },
    {
      what: "an engine that uses the broker's database",
      files: {
        'src/engines/engines.ts': "import '../db/sqlstate.ts';\n",
        'src/db/sqlstate.ts': 'export const a = 1;\n',
      },
      report: /engines-know-no-database-of-the-broker: src\/engines\/engines\.ts/,
    },
    {
      what: 'an engine that imports a feature',
      files: {
        'src/engines/engine.ts': "import '../grants/grant.ts';\n",
        'src/grants/grant.ts': 'export const a = 1;\n',
      },
      report: /engines-imports-only-folders-below: src\/engines\/engine\.ts/,
    },
    {
      what: 'a pure file that does I/O by way of another',
      files: {
        'src/grants/liveness.ts': "import './helper.ts';\n",
        'src/grants/helper.ts': "import 'node:fs';\n",
      },
      report: /pure-files-do-no-io: src\/grants\/liveness\.ts/,
    },
    {
      what: 'a cycle',
      files: {
        'src/errors.ts': "import './platform/x.ts';\n",
        'src/platform/x.ts': "import '../errors.ts';\n",
      },
      report: 'no-cycles: src/',
    },
  ],
  redocly: [
    {
      what: 'a contract that refers to nothing',
      files: {
        'src/openapi.yaml':
          'openapi: 3.1.0\ninfo: { title: T, version: "1" }\npaths: { /a: { get: { responses: { "200": { $ref: "#/none" } } } } }\n',
      },
      report: 'no-unresolved-refs',
    },
    {
      what: 'what others only warn of: a contract without a licence',
      files: {},
      report: 'Error was generated by the info-license rule',
    },
  ],
  spectral: [
    {
      what: 'an operation without a description',
      files: {
        'src/openapi.yaml':
          'openapi: 3.1.0\ninfo: { title: T, version: "1" }\npaths: { /a: { get: { responses: { "200": { description: OK } } } } }\n',
      },
      report: /warning +operation-description/,
    },
  ],
  knip: [{ what: 'dead code', files: { 'src/unused.ts': 'export const a = 1;\n' }, report: 'src/unused.ts' }],
};

const lintViolations: [what: string, content: string, expected: string][] = [
  ['ambient time', 'export const a = Date.now();\n', 'Take a Clock'],
  ['a bare new Date()', 'export const a = new Date();\n', 'Take a Clock'],
  ['ambient randomness', 'export const a = Math.random();\n', 'Take a Random'],
  ['the environment read elsewhere', 'export const a = process.env;\n', 'src/config.ts'],
  ['select *', 'declare const d: { selectAll(): void };\nd.selectAll();\n', 'Enumerate'],
  ['a floating promise', 'export const a = () => { Promise.resolve(); };\n', 'floating'],
  ['a function over 50 lines', `export function f() {\n${long(51)}\n}\n`, 'max-lines-per'],
  ['a file over 300 lines', `${long(301)}\nexport {};\n`, 'max-lines'],
  ['four arguments', 'export const f = (a: 1, b: 1, c: 1, d: 1) => [a, b, c, d];\n', 'max-params'],
];

describe.concurrent('npm run check', () => {
  it.each(Object.entries(violations))('reports each violation in its file (%s)', async (tool, all) => {
    const files = Object.assign({}, ...all.map((violation) => violation.files));
    const { status, output } = await run(tool as Tool, files);
    for (const { what, report } of all) expect(output, what).toMatch(report);
    expect(status).not.toBe(0);
  });

  it('reports each lint violation in its file (eslint)', async () => {
    const files = lintViolations.map(([, content], i) => [`src/v${i}.ts`, content]);
    const { status, stdout } = await run('eslint', Object.fromEntries(files));
    expect(status).toBe(1);
    const report: { filePath: string; messages: { ruleId: string; message: string }[] }[] =
      JSON.parse(stdout);
    for (const [i, [what, , expected]] of lintViolations.entries()) {
      const found = report.find((file) => file.filePath.endsWith(`/v${i}.ts`))?.messages ?? [];
      expect(found.map(({ ruleId, message }) => `${ruleId} ${message}`).join(), what).toContain(expected);
    }
  });

  it('does not read files that git ignores, such as those of the walkthroughs (biome)', async () => {
    const { status, output } = await run('biome', {
      'src/a.ts': 'export const a = 1;\n',
      'src/lease.json': '{"id":   1}',
    });
    expect(status, output).toBe(0);
  });

  it.each(['biome', 'eslint', 'tsc', 'depcruise'] as const)('accepts clean code (%s)', async (tool) => {
    const { status, output } = await run(tool, { 'src/a.ts': 'export const a = 1;\n' });
    expect(status, output).toBe(0);
  });
});
