import { execFile, execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { root } from '../../e2e/support/build.ts';
import {
  asBootstrap,
  createAgent,
  createPerson,
  createPolicy,
  createResource,
  readAtOnce,
  startBroker,
  type TestAgent,
  type TestPerson,
} from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';
import { isLeftOut } from '../interop/software.ts';
import { areGeneratorsMissing, generators } from './generate.ts';
import { createWorkspace, recipeOf } from './recipes.ts';

const run = promisify(execFile);
const bin = (name: string): string => join(root, 'node_modules/.bin', name);

function canRun(command: string, ...args: string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

interface Language {
  heading: string;
  /** The Debian packages that the recipe needs in addition to the generators. */
  needs?: { name: string; isThere: () => boolean };
  env?: (directory: string) => Record<string, string>;
  /** The npm package with the OpenAPI Generator that the recipe uses. */
  generator?: string;
  /** The command that compiles or checks the program. */
  compile?: string[];
  /** The command that runs the program. The test appends the scopes. */
  run: string[];
}

const jarOf = (generator: string): string =>
  join(generators, 'node_modules', generator, 'bin/openapi-generator.jar');
const javaGenerator = 'openapi-generator-java';

const typescript = {
  compile: [
    ...[bin('tsc'), '--noEmit', '--strict', '--skipLibCheck', '--allowImportingTsExtensions'],
    ...[
      '--module',
      'esnext',
      '--moduleResolution',
      'bundler',
      '--target',
      'es2022',
      '--types',
      'node',
      'agent.ts',
    ],
  ],
  run: [bin('tsx'), 'agent.ts'],
};

const languages: Record<string, Language> = {
  'openapi-fetch': { heading: '## TypeScript with openapi-fetch', ...typescript },
  'hey-api': { heading: '## TypeScript with @hey-api/openapi-ts', ...typescript },
  python: {
    heading: '### Python',
    needs: {
      name: 'one of default-jdk-headless, python3-certifi, python3-dateutil, python3-six and python3-urllib3',
      isThere: () =>
        canRun('java', '-version') &&
        canRun('/usr/bin/python3', '-c', 'import dateutil, six, certifi, urllib3'),
    },
    env: (directory) => ({ PYTHONPATH: join(directory, 'client') }),
    run: ['/usr/bin/python3', 'agent.py'],
  },
  go: {
    heading: '### Go',
    needs: {
      name: 'one of default-jdk-headless, golang-go and golang-golang-x-oauth2-dev',
      isThere: () =>
        canRun('java', '-version') &&
        canRun('go', 'version') &&
        existsSync('/usr/share/gocode/src/golang.org/x/oauth2'),
    },
    // Go finds the program and Debian's packages in a GOPATH, and downloads no modules.
    env: (directory) => ({ GO111MODULE: 'off', GOPATH: `${join(directory, '../../..')}:/usr/share/gocode` }),
    compile: ['go', 'build', '-o', 'agent', '.'],
    run: ['./agent'],
  },
  java: {
    heading: '### Java',
    needs: { name: 'default-jdk-headless', isThere: () => canRun('javac', '-version') },
    generator: javaGenerator,
    // The generator contains the libraries that its clients need.
    env: (directory) => ({ CLASSPATH: `${join(directory, 'classes')}:${jarOf(javaGenerator)}` }),
    compile: [
      'bash',
      '-c',
      'javac -proc:none -nowarn -d classes $(find client/src/main -name "*.java") Agent.java',
    ],
    run: ['java', 'Agent'],
  },
};
/** The folder of a recipe below `generated/recipes`, if it is not the name of the recipe: Go needs a place in a GOPATH. */
const folders: Record<string, string> = { go: 'gopath/src/example.com/agent' };

let agent: TestAgent;
let approver: TestPerson;
let resource: string;
let url: string;
beforeAll(async () => {
  const broker = await startBroker();
  url = broker.url;
  await createPolicy(broker, readAtOnce);
  const forbidAdmin =
    'forbid(principal, action == Action::"request", resource) when { context.scopes.contains("admin") };';
  await createPolicy(broker, forbidAdmin);
  agent = await createAgent(broker);
  approver = await createPerson(broker, { roles: ['approver'], name: 'approver' });
  resource = (await createResource(broker)).identifier;
});

/** Writes the command `openapi-generator-cli`, which the recipes call. Returns its folder. */
function provideGenerator(directory: string, generator = '@openapitools/openapi-generator-cli'): string {
  const folder = join(directory, 'commands');
  const file = join(folder, 'openapi-generator-cli');
  mkdirSync(folder);
  writeFileSync(file, `#!/bin/sh\nexec java -jar ${jarOf(generator)} "$@"\n`);
  chmodSync(file, 0o755);
  return folder;
}

describe.each(Object.entries(languages))('the recipe of docs/clients.md: %s', (name, language) => {
  const isMissing = language.needs !== undefined && isLeftOut(language.needs.name, language.needs.isThere());
  const recipe = recipeOf(language.heading);
  let directory: string;
  let env: NodeJS.ProcessEnv;

  const execute = async ([command = '', ...args]: string[]): Promise<string> => {
    const { stdout } = await run(command, args, { cwd: directory, env, maxBuffer: 64 * 1024 * 1024 });
    return stdout;
  };

  beforeAll(async () => {
    if (areGeneratorsMissing || isMissing) return;
    directory = createWorkspace(folders[name] ?? name, recipe);
    const path = [
      provideGenerator(directory, language.generator),
      join(generators, 'node_modules/.bin'),
      join(root, 'node_modules/.bin'),
      process.env.PATH,
    ].join(':');
    env = {
      ...process.env,
      PATH: path,
      HALLPASS_URL: url,
      CLIENT_ID: agent.id,
      CLIENT_SECRET: agent.secret,
      RESOURCE: resource,
      ...language.env?.(directory),
    };
    await execute(['bash', '-euc', recipe.commands]);
    if (language.compile !== undefined) await execute(language.compile);
  });

  const test = it.skipIf(areGeneratorsMissing || isMissing);

  test('gets a token for a scope that policy permits at once', async () => {
    expect(await execute([...language.run, 'read'])).toBe('token for read, valid for 300 s\n');
  });

  test('waits for an approval, and then gets a token', async () => {
    const running = execute([...language.run, 'write']);
    const pending = await eventually(async () => {
      const { body } = await asBootstrap({ url }).get('/v1/grants?status=pending').expect(200);
      expect(body.items).toHaveLength(1);
      return body.items[0];
    });
    const approval = { request_digest: pending.request_digest };
    await approver.api.post(`/v1/grants/${pending.id}/approve`, approval).expect(200);
    expect(await running).toBe('token for write, valid for 300 s\n');
  });

  test('reports a denial, and the scopes that policy would permit', async () => {
    const output = await execute([...language.run, 'read', 'admin']);
    expect(output).toBe('denied (policy-denied), permitted: read\n');
  });
});
