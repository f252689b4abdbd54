import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { inject } from 'vitest';
import { atEnd } from '../../support/at-end.ts';
import { launch } from './broker-process.ts';
import { root } from './build.ts';
import { blocksOf } from './markdown.ts';

export interface Production {
  databaseUrl: string;
  ownerUrl: string;
  bootstrapKey: string;
  /** The environment of a broker in production. */
  env: Record<string, string>;
  /** Runs a statement as the owner. */
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>;
}

/** Returns the two SQL blocks of docs/production.md, with the names and the password replaced. */
function productionSql(suffix: string, password: string): [server: string, database: string] {
  const [server, database, ...more] = blocksOf(readFileSync(join(root, 'docs/production.md'), 'utf8'))
    .filter(({ language }) => language === 'sql')
    .map(({ text }) =>
      text
        .replaceAll(/hallpass(_owner|_app)?\b/g, (name) => `${name}_${suffix}`)
        .replaceAll(/'choose-\w+'/g, `'${password}'`),
    );
  if (server === undefined || database === undefined || more.length > 0)
    throw new Error('docs/production.md must have exactly two blocks of SQL');
  return [server, database];
}

async function execute(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    for (const statement of sql.split(';').filter((text) => text.trim() !== ''))
      await client.query(statement);
  } finally {
    await client.end();
  }
}

/** Creates a database and its roles as docs/production.md says, without migrations. They are dropped when the test file ends. */
export async function createProduction(): Promise<Production> {
  const { adminUrl } = inject('server');
  const suffix = `e2e_${randomBytes(5).toString('hex')}`;
  const password = randomBytes(12).toString('hex');
  const urlOf = (change: Partial<Pick<URL, 'username' | 'password' | 'pathname'>>): string =>
    Object.assign(new URL(adminUrl), change).href;
  const pathname = `/hallpass_${suffix}`;
  const [server, database] = productionSql(suffix, password);
  await execute(adminUrl, server);
  atEnd(() =>
    execute(
      adminUrl,
      `drop database hallpass_${suffix} with (force); drop role hallpass_app_${suffix}; drop role hallpass_owner_${suffix}`,
    ),
  );
  await execute(urlOf({ pathname }), database);
  const databaseUrl = urlOf({ username: `hallpass_app_${suffix}`, password, pathname });
  const ownerUrl = urlOf({ username: `hallpass_owner_${suffix}`, password, pathname });
  const owner = new pg.Pool({ connectionString: ownerUrl, max: 1 });
  owner.on('error', () => {});
  atEnd(() => owner.end());
  const bootstrapKey = `hpa_${randomBytes(32).toString('base64url').replaceAll('-', '_')}`;
  return {
    databaseUrl,
    ownerUrl,
    bootstrapKey,
    env: {
      DATABASE_URL: databaseUrl,
      HALLPASS_MASTER_KEY: randomBytes(32).toString('base64url'),
      HALLPASS_PUBLIC_URL: 'https://hallpass.test',
      HALLPASS_BOOTSTRAP_ADMIN_KEY: bootstrapKey,
    },
    query: async (text, values) => (await owner.query(text, values)).rows,
  };
}

/** Runs `node dist/cli.js ...` and resolves when it has ended. */
export function cli(env: Record<string, string>, ...words: string[]) {
  return launch(env, ['node', 'dist/cli.js', ...words]).exited;
}

export async function migrate(production: Production): Promise<void> {
  const { code, stderr } = await cli(
    { ...production.env, DATABASE_OWNER_URL: production.ownerUrl },
    'migrate',
  );
  if (code !== 0) throw new Error(`migrate failed: ${stderr}`);
}
