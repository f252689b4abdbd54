import { shareRuns } from '../../platform/share-runs.ts';
import { runBounded, unlessAborted } from '../bounded-call.ts';
import type { Address, TargetOptions } from '../engine.ts';
import { settleAll } from '../settle.ts';
import { TargetFailure } from '../target-failure.ts';
import { type Connection, connect, type Login } from './connect.ts';
import { isReplyError, toTargetFailure } from './failure.ts';
import { type Command, createLink, type Link, type Reply, type Sending } from './link.ts';

/** One server, as the admin account, during one call. */
export interface Session {
  /** Sends commands together and returns their replies, which may be errors. */
  send(commands: readonly Command[], options?: Pick<Sending, 'before'>): Promise<Reply[]>;
  /** Sends commands together and returns their values. Throws the first error among the replies. */
  ask(commands: readonly Command[], options?: Pick<Sending, 'before'>): Promise<unknown[]>;
  /**
   * Stores the access control list in the ACL file of the server. Calls at the same time share a run.
   *
   * @returns false if the server has no ACL file
   */
  save(): Promise<boolean>;
}

/** The servers of one call to a target, which must all be finished before the call's timeout. */
export interface Call {
  /**
   * Runs `work` on every server at the same time: Redis does not replicate access control lists. Fails if it fails on one, after
   * all have ended.
   */
  onEach<T>(work: (session: Session) => Promise<T>): Promise<T[]>;
  /** Logs in to the primary server as another account. The caller ends the connection. */
  logIn(login: Login): Promise<Connection>;
}

export interface Servers {
  /** Runs one call. Throws only `TargetFailure`. */
  run<T>(work: (call: Call) => Promise<T>): Promise<T>;
  /** Uses another password of the admin account from now on. */
  changePassword(password: string): void;
  close(): Promise<void>;
}

interface Server {
  link: Link;
  /** Names the server in an error, if there are several. */
  label: string;
  save: () => Promise<Reply>;
}

const noAclFile = /not configured to use an ACL file/;

/** Opens the servers of a target: the primary server and its replicas. */
export function openServers(options: TargetOptions): Servers {
  const { connection, timeoutMs } = options;
  const { host, port, username, replicas } = connection;
  const primary = { host, port };
  let password = connection.password;
  const servers = [primary, ...replicas].map((address): Server => {
    const link = createLink({ ...options, address, getLogin: () => ({ username, password }) });
    const save = async (): Promise<Reply> => {
      const [reply] = await link.send([['ACL', 'SAVE']], { signal: AbortSignal.timeout(timeoutMs) });
      return reply as Reply;
    };
    return { link, label: replicas.length === 0 ? '' : labelOf(address), save: shareRuns(save) };
  });
  const toFailure = (error: unknown, label: string): TargetFailure => {
    const failure = toTargetFailure(error, { username, secret: password });
    if (label === '' || failure.detail.startsWith(label)) return failure;
    return new TargetFailure(failure.problem, label + failure.detail, { statement: failure.statement });
  };
  const createCall = (signal: AbortSignal): Call => ({
    onEach: (work) =>
      settleAll(
        servers.map(async (server) => {
          try {
            return await work(createSession(server, signal));
          } catch (error) {
            throw toFailure(error, server.label);
          }
        }),
      ),
    logIn: (login) => connect({ ...options, address: primary }, login, signal),
  });
  return {
    run: (work) =>
      runBounded({ timeoutMs, toFailure: (error) => toFailure(error, '') }, (signal) =>
        work(createCall(signal)),
      ),
    changePassword(changed) {
      password = changed;
    },
    async close() {
      for (const { link } of servers) link.close();
    },
  };
}

const labelOf = ({ host, port }: Address): string => `${host}:${port}: `;

function createSession({ link, save }: Server, signal: AbortSignal): Session {
  const send: Session['send'] = (commands, options = {}) => link.send(commands, { ...options, signal });
  return {
    send,
    async ask(commands, options) {
      return (await send(commands, options)).map(({ value, error }) => {
        if (error !== undefined) throw error;
        return value;
      });
    },
    async save() {
      const { error } = await unlessAborted(signal, save(), () => {});
      if (isReplyError(error) && noAclFile.test(error.message)) return false;
      if (error !== undefined) throw error;
      return true;
    },
  };
}
