import { connect } from 'amqplib';
import { Redis } from 'ioredis';
import mysql from 'mysql2/promise';
import pg from 'pg';
import type { EngineKind } from '../../../src/engines/terms.ts';

export interface Credential {
  username: string;
  password: string;
  host: string;
  port: number;
  database: string | null;
}

/** A session of an agent, with the client library of its choice. */
export interface AgentSession {
  /** Does what the scope permits. */
  use(): Promise<unknown>;
  /** Does what no scope permits. */
  misuse(): Promise<unknown>;
  close(): unknown;
}

/** Logs in with the credential of a lease for the resource `Orders`, by the kind of its target. */
export const logIns: Record<EngineKind, (credential: Credential) => Promise<AgentSession>> = {
  async postgres({ username: user, password, host, port, database }) {
    const client = new pg.Client({ user, password, host, port, database: database ?? '', ssl: false });
    client.on('error', () => {});
    await client.connect();
    return {
      use: () => client.query('select id from s.orders'),
      misuse: () => client.query('delete from s.orders'),
      close: () => client.end().catch(() => {}),
    };
  },
  async mysql({ username: user, password, host, port, database }) {
    const client = await mysql.createConnection({ user, password, host, port, database: database ?? '' });
    client.on('error', () => {});
    return {
      use: () => client.query('select id from app.orders'),
      misuse: () => client.query('delete from app.orders'),
      close: () => client.destroy(),
    };
  },
  async redis({ username, password, host, port }) {
    const client = new Redis({
      username,
      password,
      host,
      port,
      lazyConnect: true,
      enableReadyCheck: false,
      retryStrategy: () => null,
    });
    client.on('error', () => {});
    await client.connect();
    return {
      use: () => client.set('orders:1', 'open'),
      misuse: () => client.get('secrets:1'),
      close: () => client.disconnect(),
    };
  },
  async rabbitmq({ username, password, host: hostname, port, database }) {
    const vhost = encodeURIComponent(database ?? '/');
    const client = await connect({ hostname, port, username, password, vhost });
    client.on('error', () => {});
    const inChannel = async (
      work: (channel: Awaited<ReturnType<typeof client.createChannel>>) => Promise<unknown>,
    ) => {
      const channel = await client.createChannel();
      channel.on('error', () => {});
      return work(channel);
    };
    return {
      use: () => inChannel((channel) => channel.get('orders')),
      misuse: () => inChannel((channel) => channel.assertQueue('secrets')),
      close: () => client.close().catch(() => {}),
    };
  },
};
