import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from '../../e2e/support/build.ts';
import { isLeftOut } from '../interop/software.ts';

const run = promisify(execFile);

/** The directory of the package with the generators that only these tests need. .ci/install-packages installs it. */
export const generators = join(root, '.ci/generators');
const generated = join(import.meta.dirname, 'generated');
const contract = join(root, 'openapi.yaml');

/** The command that generates the client of each TypeScript generator. */
const commands = {
  'openapi-fetch': ['openapi-typescript', contract, '-o', join(generated, 'openapi-fetch/schema.ts')],
  'hey-api': ['openapi-ts', '-i', contract, '-o', join(generated, 'hey-api')],
  orval: ['orval', '--config', 'orval.config.ts'],
  kubb: ['kubb', 'generate', '--config', 'kubb.config.ts'],
  'swagger-typescript-api': [
    ...['swagger-typescript-api', 'generate', '--generate-union-enums', '-p', contract],
    ...['-o', join(generated, 'swagger-typescript-api'), '-n', 'client.ts'],
  ],
} as const;
export type ClientName = keyof typeof commands;

/** Whether the generators are not installed, so that their tests are skipped. Then it says so on standard error. */
export const areGeneratorsMissing = isLeftOut(
  'npm ci --prefix .ci/generators: generators of clients that other projects maintain',
  existsSync(join(generators, 'node_modules/.package-lock.json')),
);

/** The compiler options of this project, except for two with which no generated code compiles. */
const compilerOptions = {
  module: 'esnext',
  moduleResolution: 'bundler',
  lib: ['es2023', 'dom', 'dom.iterable'],
  exactOptionalPropertyTypes: false,
};

/** Generates a client into the folder `generated`. */
export async function generateClient(name: ClientName): Promise<void> {
  const directory = join(generated, name);
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const [command, ...args] = commands[name];
  const places = [join(generators, 'node_modules/.bin'), join(root, 'node_modules/.bin')];
  const bin = places.map((place) => join(place, command)).find(existsSync) ?? command;
  await execute(bin, args, generators);
}

/**
 * Compiles a generated client with its driver, or with `code` instead of the driver. Throws with the compiler's messages if
 * it does not compile.
 */
export async function compileClient(name: ClientName, code?: string): Promise<void> {
  const directory = join(generated, name);
  if (code !== undefined) writeFileSync(join(directory, 'wrong.ts'), code);
  const include = [code === undefined ? `../../drivers/${name}.ts` : 'wrong.ts'];
  const config = join(directory, 'tsconfig.json');
  const extended = join(root, 'tsconfig.json');
  writeFileSync(config, JSON.stringify({ extends: extended, compilerOptions, include, exclude: [] }));
  await execute(join(root, 'node_modules/.bin/tsc'), ['--noEmit', '-p', config], root);
}

async function execute(command: string, args: readonly string[], cwd: string): Promise<void> {
  try {
    await run(command, args, { cwd, maxBuffer: 64 * 1024 * 1024 });
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} failed:\n${stdout}${stderr}`.slice(0, 5000), { cause: error });
  }
}
