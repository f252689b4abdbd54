import { type Client, escapeLiteral } from 'pg';
import type { Credentials } from './data-directory.ts';

export const databaseName = 'hallpass';
export const ownerRole = 'hallpass_owner';
export const applicationRole = 'hallpass_app';

/**
 * Creates the two logins and the database, as far as they are missing, as an operator
 * would in production: the owner migrates, the application login owns and creates
 * nothing, and no other login may connect. Returns whether it created the database.
 */
export async function bootstrapDatabase(client: Client, credentials: Credentials): Promise<boolean> {
  await makeLogin(client, ownerRole, credentials.owner);
  await makeLogin(client, applicationRole, credentials.application);
  const made = await makeDatabase(client);
  await client.query(`revoke all on database ${databaseName} from public`);
  await client.query(`grant connect on database ${databaseName} to ${applicationRole}`);
  await client.query('revoke all on database postgres, template1 from public');
  return made;
}

async function makeLogin(client: Client, role: string, password: string): Promise<void> {
  const { rows } = await client.query('select 1 from pg_roles where rolname = $1', [role]);
  if (rows.length > 0) return;
  await client.query(
    `create role ${role} login nosuperuser nocreatedb nocreaterole noreplication nobypassrls
       password ${escapeLiteral(password)}`,
  );
}

async function makeDatabase(client: Client): Promise<boolean> {
  const { rows } = await client.query('select 1 from pg_database where datname = $1', [databaseName]);
  if (rows.length > 0) return false;
  await client.query(`create database ${databaseName} owner ${ownerRole} template template0`);
  return true;
}
