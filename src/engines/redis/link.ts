import { unlessAborted } from '../bounded-call.ts';
import type { Address, TargetOptions } from '../engine.ts';
import { TargetFailure } from '../target-failure.ts';
import { type Connection, connect, type Login } from './connect.ts';
import { isReplyError } from './failure.ts';

export type Command = readonly [string, ...string[]];
/** The answer to one command: a value, or the error of the server. */
export type Reply = { value: unknown; error?: undefined } | { value?: undefined; error: Error };

export interface Sending {
  signal: AbortSignal;
  /** Called immediately before the commands are sent. They are not sent if it throws. */
  before?: (() => void) | undefined;
}

/** The connection of the admin account to one server. It is made when a command needs it, and ended when idle. */
export interface Link {
  /**
   * Sends commands together and returns their replies. Calls share the connection, because the server answers in order. If the
   * signal is aborted before all replies are there, the connection is ended.
   */
  send(commands: readonly Command[], sending: Sending): Promise<Reply[]>;
  close(): void;
}

/**
 * Longer than the pause between two calls that repeat every minute. Redis cannot limit the connections of a user: an agent that takes
 * all of them keeps a broker out that is not connected.
 */
const idleTimeoutMs = 120_000;

export type LinkOptions = TargetOptions & { address: Address; getLogin: () => Login };

/** Creates the link to one server. Connects only when the first commands need it. */
export function createLink(options: LinkOptions): Link {
  const shared = shareConnection(options);
  let idle: NodeJS.Timeout | undefined;
  let users = 0;
  return {
    async send(commands, { signal, before }) {
      signal.throwIfAborted();
      clearTimeout(idle);
      users += 1;
      try {
        const connection = await unlessAborted(signal, shared.open(signal), () => {});
        signal.throwIfAborted();
        before?.();
        return await exchange(connection, commands, signal);
      } finally {
        users -= 1;
        // Nobody waits for the connection that was about to be made.
        if (users === 0 && signal.aborted) shared.end();
        if (users === 0) idle = setTimeout(shared.end, idleTimeoutMs).unref();
      }
    },
    close() {
      clearTimeout(idle);
      shared.close();
    },
  };
}

/** Holds at most one connection, for all who open it. */
function shareConnection(options: LinkOptions) {
  let opening: Promise<Connection> | undefined;
  let attempt = new AbortController();
  let isClosed = false;
  const forget = (one: Promise<Connection>): void => {
    if (opening === one) opening = undefined;
  };
  const end = (): void => {
    attempt.abort();
    opening?.then(({ reset }) => reset()).catch(() => {});
    opening = undefined;
  };
  return {
    async open(signal: AbortSignal): Promise<Connection> {
      while (opening !== undefined) {
        const one = opening;
        const connection = await one.catch(unlessTimedOut);
        if (connection?.isOpen() === true) return connection;
        forget(one);
      }
      signal.throwIfAborted();
      if (isClosed) throw new Error('the target is closed');
      attempt = new AbortController();
      const limits = AbortSignal.any([attempt.signal, AbortSignal.timeout(options.timeoutMs)]);
      const one = connect(options, options.getLogin(), limits);
      opening = one;
      one.catch(() => forget(one));
      return one;
    },
    end,
    close(): void {
      isClosed = true;
      end();
    },
  };
}

/** An attempt that began before a call must not end that call by its own timeout. */
function unlessTimedOut(error: unknown): undefined {
  if (error instanceof TargetFailure && error.problem === 'timed-out') return undefined;
  throw error;
}

/** Sends commands and waits for all replies. Throws if the connection is lost. */
async function exchange(
  connection: Connection,
  commands: readonly Command[],
  signal: AbortSignal,
): Promise<Reply[]> {
  signal.addEventListener('abort', connection.reset, { once: true });
  try {
    const pipeline = connection.redis.pipeline();
    for (const [name, ...args] of commands) pipeline.call(name, ...args);
    const results = await unlessAborted(signal, pipeline.exec(), () => {});
    return (results ?? []).map(([error, value]): Reply => {
      if (error === null) return { value };
      if (isReplyError(error)) return { error };
      throw error as Error;
    });
  } finally {
    signal.removeEventListener('abort', connection.reset);
  }
}
