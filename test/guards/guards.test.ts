import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** Each guard of `npm run check` is fed a violation in a project of its own and must refuse it. */
const root = join(import.meta.dirname, '../..');
const tools = {
  biome: ['@biomejs/biome/bin/biome', 'check', 'src'],
  eslint: ['eslint/bin/eslint.js', '--format', 'json', 'src'],
  tsc: ['typescript/bin/tsc', '--noEmit'],
  depcruise: ['dependency-cruiser/bin/dependency-cruise.mjs', '--config', '.dependency-cruiser.cjs', 'src'],
  knip: ['knip/bin/knip.js', '--include', 'files,exports'],
  redocly: ['@redocly/cli/bin/cli.js', 'lint', 'src/openapi.yaml'],
} as const;

let project: string;

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'hallpass-guards-'));
  const configs = [
    'package.json',
    'tsconfig.json',
    'biome.json',
    'eslint.config.js',
    'knip.json',
    'redocly.yaml',
  ];
  for (const file of [...configs, '.dependency-cruiser.cjs']) cpSync(join(root, file), join(project, file));
  symlinkSync(join(root, 'node_modules'), join(project, 'node_modules'));
});
afterAll(() => rmSync(project, { recursive: true }));

function run(tool: keyof typeof tools, files: Record<string, string>) {
  rmSync(join(project, 'src'), { recursive: true, force: true });
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(project, name)), { recursive: true });
    writeFileSync(join(project, name), text);
  }
  const [bin, ...args] = tools[tool];
  const result = spawnSync(process.execPath, [join(root, 'node_modules', bin), ...args], {
    cwd: project,
    encoding: 'utf8',
  });
  return { status: result.status, output: `${result.stdout}${result.stderr}` };
}

const long = (lines: number) => Array.from({ length: lines }, (_, i) => `  const v${i} = ${i};`).join('\n');

const violations: [string, keyof typeof tools, Record<string, string>, string][] = [
  ['unformatted code', 'biome', { 'src/a.ts': 'export const a={b:1}\n' }, 'format'],
  ['console output', 'biome', { 'src/a.ts': "console.log('x');\n" }, 'noConsole'],
  ['any', 'biome', { 'src/a.ts': 'export const a: any = 1;\n' }, 'noExplicitAny'],
  ['a type error', 'tsc', { 'src/a.ts': 'export const a: string = 1;\n' }, 'TS2322'],
  [
    'an unchecked index',
    'tsc',
    { 'src/a.ts': 'export const f = (a: string[]): string => a[0];\n' },
    'TS2322',
  ],
  ['an enum', 'tsc', { 'src/a.ts': 'export enum E { A }\n' }, 'TS1294'],
  [
    'a store that imports a service',
    'depcruise',
    { 'src/grants/store.ts': "import './service.ts';\n", 'src/grants/service.ts': 'export const a = 1;\n' },
    'store-below-service',
  ],
  [
    'SQL in a route',
    'depcruise',
    { 'src/grants/routes.ts': "import './store.ts';\n", 'src/grants/store.ts': 'export const a = 1;\n' },
    'routes-do-no-sql',
  ],
  [
    'express in a service',
    'depcruise',
    { 'src/grants/service.ts': "import 'express';\n" },
    'express-only-at-the-edge',
  ],
  [
    'a feature that calls one it may not',
    'depcruise',
    {
      'src/agents/service.ts': "import '../grants/service.ts';\n",
      'src/grants/service.ts': 'export const a = 1;\n',
    },
    'agents-calls-only-what-it-may',
  ],
  [
    'a cycle',
    'depcruise',
    { 'src/errors.ts': "import './platform/x.ts';\n", 'src/platform/x.ts': "import '../errors.ts';\n" },
    'no-cycles',
  ],
  [
    'a contract that refers to nothing',
    'redocly',
    {
      'src/openapi.yaml':
        'openapi: 3.1.0\ninfo: { title: T, version: "1" }\npaths: { /a: { get: { responses: { "200": { $ref: "#/none" } } } } }\n',
    },
    'no-unresolved-refs',
  ],
  ['dead code', 'knip', { 'src/unused.ts': 'export const a = 1;\n' }, 'src/unused.ts'],
];

/** One file each, all in one run: starting a type-aware linter takes longer than linting. */
const lintViolations: [what: string, text: string, expected: string][] = [
  ['ambient time', 'export const a = Date.now();\n', 'Take a Clock'],
  ['a bare new Date()', 'export const a = new Date();\n', 'Take a Clock'],
  ['ambient randomness', 'export const a = Math.random();\n', 'Take a Random'],
  [
    'the environment read elsewhere',

    'export const a = process.env;\n',
    'src/config.ts',
  ],
  [
    'select *',

    'declare const d: { selectAll(): void };\nd.selectAll();\n',
    'Enumerate',
  ],
  [
    'a floating promise',

    'export const a = () => { Promise.resolve(); };\n',
    'floating',
  ],
  [
    'a function over 50 lines',

    `export function f() {\n${long(51)}\n}\n`,
    'max-lines-per',
  ],
  ['a file over 300 lines', `${long(301)}\nexport {};\n`, 'max-lines'],
  [
    'four arguments',

    'export const f = (a: 1, b: 1, c: 1, d: 1) => [a, b, c, d];\n',
    'max-params',
  ],
];

describe('npm run check', () => {
  it.each(violations)('refuses %s (%s)', (_what, tool, files, expected) => {
    const { status, output } = run(tool, files);
    expect(output).toContain(expected);
    expect(status).not.toBe(0);
  });

  it('refuses each lint violation in the file that has it (eslint)', () => {
    const files = lintViolations.map(([, text], i) => [`src/v${i}.ts`, text]);
    const { status, output } = run('eslint', Object.fromEntries(files));
    expect(status).toBe(1);
    const report: { filePath: string; messages: { ruleId: string; message: string }[] }[] =
      JSON.parse(output);
    for (const [i, [what, , expected]] of lintViolations.entries()) {
      const found = report.find((file) => file.filePath.endsWith(`/v${i}.ts`))?.messages ?? [];
      expect(found.map(({ ruleId, message }) => `${ruleId} ${message}`).join(), what).toContain(expected);
    }
  });

  it('lets clean code pass', () => {
    const clean = { 'src/a.ts': 'export const a = 1;\n' };
    expect(run('biome', clean)).toMatchObject({ status: 0 });
    expect(run('eslint', clean)).toMatchObject({ status: 0 });
    expect(run('tsc', clean)).toMatchObject({ status: 0 });
    expect(run('depcruise', clean)).toMatchObject({ status: 0 });
  });
});
