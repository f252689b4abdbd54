import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { atEnd } from '../../../support/at-end.ts';

/** Runs one statement on the test server as its superuser, in `database`. */
export async function asSuperuser(statement: string, database = 'postgres'): Promise<void> {
  const url = new URL(inject('server').adminUrl);
  url.pathname = `/${database}`;
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

export const nameOf = (url: string): string => new URL(url).pathname.slice(1);

/** Returns the URL with another database and the same login and server. */
export function inDatabase(url: string, name: string): string {
  return Object.assign(new URL(url), { pathname: `/${name}` }).href;
}

export const newName = (): string => `hallpass_e2e_${randomBytes(5).toString('hex')}`;

/** Creates a database that is dropped when the test file ends. */
export function dropAtEnd(name: string): void {
  atEnd(() => asSuperuser(`drop database if exists ${name} with (force)`));
}

/** Returns the rows of one statement, with the login of `url`. */
export async function query<Row extends pg.QueryResultRow>(
  url: string,
  text: string,
  values: unknown[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(text, values)).rows;
  } finally {
    await client.end();
  }
}
