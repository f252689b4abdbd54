import mysql from 'mysql2/promise';
import pg from 'pg';
import { request } from 'undici';
import type { TargetConnection } from '../../../../src/engines/engine.ts';
import type { EngineKind } from '../../../../src/engines/terms.ts';
import { connectTo } from '../../../engines/redis/server.ts';
import type { KnownPassword } from './victim.ts';

type Place = Pick<TargetConnection, 'host' | 'port' | 'database'>;
type LogIn = (place: Place, admin: KnownPassword) => Promise<void>;

/** For each kind of target: logs in as the admin account and logs out. Rejects if the password is refused. */
export const logInAsAdmin: Record<EngineKind, LogIn> = {
  async postgres({ host, port, database }, { username: user, password }) {
    const client = new pg.Client({ host, port, database, user, password, ssl: false });
    client.on('error', () => {});
    await client.connect();
    await client.end();
  },
  async mysql({ host, port }, { username: user, password }) {
    await (await mysql.createConnection({ host, port, user, password })).end();
  },
  async redis({ port }, { username: name, password }) {
    (await connectTo(port, { name, password })).disconnect();
  },
  async rabbitmq({ host, port }, { username, password }) {
    const authorization = `Basic ${btoa(`${username}:${password}`)}`;
    const { statusCode, body } = await request(`http://${host}:${port}/api/whoami`, {
      headers: { authorization },
    });
    await body.dump();
    if (statusCode !== 200) throw new Error(`the login as ${username} is refused: ${statusCode}`);
  },
};
