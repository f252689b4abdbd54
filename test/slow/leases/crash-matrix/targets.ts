import { escapeIdentifier } from 'pg';
import type { EngineKind } from '../../../../src/engines/terms.ts';
import { startOwnServer } from '../../../cluster/own-server.ts';
import { type ContractSubject, newPassword } from '../../../engines/contract.ts';
import { isMariadbMissing, startMariadb } from '../../../engines/mysql/mariadb-server.ts';
import { adminStatements, prepareMariadb } from '../../../engines/mysql/subject.ts';
import { preparePostgres } from '../../../engines/postgres/subject.ts';
import { adminPrivileges, isRedisMissing, startRedis } from '../../../engines/redis/server.ts';
import { toSubject } from '../../../engines/redis/subject.ts';
import { prepareRabbitmq } from '../../engines/rabbitmq-subject.ts';
import { isRabbitmqMissing } from '../../support/rabbitmq-node.ts';
import { logInAsAdmin } from './admin-log-ins.ts';
import type { KnownPassword } from './victim.ts';

/** A server in which the brokers of the matrix make accounts. */
export interface MatrixTarget {
  kind: EngineKind;
  subject: ContractSubject;
  /** Makes another admin account that may do what a broker needs. */
  makeAdmin(username: string): Promise<KnownPassword>;
  /** Logs in as an admin account with the client of its kind, and logs out. Rejects if the password is refused. */
  logInAsAdmin(admin: KnownPassword): Promise<void>;
  /** Returns the accounts and roles that brokers have made, read by the superuser of the server. */
  accounts(): Promise<string[]>;
}

interface TargetKind {
  isMissing: boolean;
  start(): Promise<Pick<MatrixTarget, 'subject' | 'accounts'> & { makeAdmin: MakeAdmin }>;
}
type MakeAdmin = (admin: KnownPassword) => Promise<unknown>;

async function startPostgres(): ReturnType<TargetKind['start']> {
  const server = await startOwnServer({ max_connections: '500' });
  const subject = await preparePostgres(server.adminUrl);
  const names = async (): Promise<string[]> => {
    const rows = await subject.asSuperuser<{ name: string }>(
      "select rolname as name from pg_roles where rolname like 'hp\\_%' order by rolname",
    );
    return rows.map(({ name }) => name);
  };
  return {
    subject,
    accounts: names,
    makeAdmin: ({ username, password }) =>
      subject.asSuperuser(
        `create role ${username} login createrole password '${password}';
         grant ${escapeIdentifier(subject.reader)} to ${username} with admin true, inherit false, set false`,
      ),
  };
}

async function startMysql(): ReturnType<TargetKind['start']> {
  const subject = await prepareMariadb(await startMariadb({ lines: ['max-connections=500'] }));
  return {
    subject,
    accounts: async () => {
      const rows = await subject.asRoot<{ name: string }>(
        // A role that is left without its account is a remainder, too.
        `select distinct regexp_replace(User, '[.]role$', '') as name from mysql.global_priv
          where User like 'hp\\_%' order by name`,
      );
      return rows.map(({ name }) => name);
    },
    makeAdmin: ({ username, password }) =>
      subject.asRoot(adminStatements(`'${username}'@'%'`, password, [subject.reader])),
  };
}

async function startRedisTarget(): ReturnType<TargetKind['start']> {
  const server = await startRedis();
  return {
    subject: toSubject(server),
    accounts: async () => {
      const names = (await server.asRoot('ACL', 'USERS')) as string[];
      return names.filter((name) => name.startsWith('hp_')).sort();
    },
    makeAdmin: ({ username, password }) =>
      server.asRoot(
        ...['ACL', 'SETUSER', username, 'on', `>${password}`, 'resetchannels', '-@all'],
        ...adminPrivileges,
      ),
  };
}

async function startRabbitmqTarget(): ReturnType<TargetKind['start']> {
  const subject = await prepareRabbitmq();
  await subject.asRoot('PUT', ['queues', subject.vhost, 'orders'], {});
  return {
    subject,
    accounts: async () => {
      const users = (await subject.asRoot('GET', ['users'])) as { name: string }[];
      return users
        .map(({ name }) => name)
        .filter((name) => name.startsWith('hp_'))
        .sort();
    },
    makeAdmin: ({ username, password }) =>
      subject.asRoot('PUT', ['users', username], { password, tags: 'administrator' }),
  };
}

export const targetKinds: Record<EngineKind, TargetKind> = {
  postgres: { isMissing: false, start: startPostgres },
  mysql: { isMissing: isMariadbMissing, start: startMysql },
  redis: { isMissing: isRedisMissing, start: startRedisTarget },
  rabbitmq: { isMissing: isRabbitmqMissing, start: startRabbitmqTarget },
};

export async function startTarget(kind: EngineKind): Promise<MatrixTarget> {
  const { makeAdmin, ...target } = await targetKinds[kind].start();
  return {
    ...target,
    kind,
    async makeAdmin(username) {
      const admin = { username, password: newPassword() };
      await makeAdmin(admin);
      return admin;
    },
    logInAsAdmin: (admin) => logInAsAdmin[kind](target.subject.options.connection, admin),
  };
}
