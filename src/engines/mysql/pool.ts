import { unlessAborted } from '../bounded-call.ts';
import type { Connection } from './connect.ts';

export interface PoolOptions {
  /** The most connections at one time. Work beyond it waits. */
  max: number;
  /** How long an unused connection stays open. */
  idleMs: number;
  connect: (signal: AbortSignal) => Promise<Connection>;
}

export interface Pool {
  /**
   * Runs `work` on a connection of its own, as soon as one may be opened. The connection is ended if the work fails or the signal is
   * aborted, which the pool of mysql2 cannot do while a connection is opened.
   */
  use<T>(signal: AbortSignal, work: (connection: Connection) => Promise<T>): Promise<T>;
  /** Ends every connection. */
  close(): void;
}

/** Creates a pool. It opens a connection only when work needs it. */
export function createPool({ max, idleMs, connect }: PoolOptions): Pool {
  const slots = createSlots(max);
  const idle = createIdle(idleMs);
  const running = new Set<AbortController>();
  let isClosed = false;
  const closed = new Error('the target is closed');

  const runInSlot = async <T>(
    signal: AbortSignal,
    work: (connection: Connection) => Promise<T>,
  ): Promise<T> => {
    await slots.take(signal);
    try {
      const connection = idle.take() ?? (await connect(signal));
      const result = await runOn(connection, signal, work);
      if (connection.isOpen() && !isClosed) idle.put(connection);
      else connection.quit();
      return result;
    } finally {
      slots.release();
    }
  };
  return {
    async use(signal, work) {
      if (isClosed) throw closed;
      const stop = new AbortController();
      const abort = (): void => stop.abort(signal.reason);
      running.add(stop);
      signal.addEventListener('abort', abort, { once: true });
      if (signal.aborted) abort();
      try {
        return await runInSlot(stop.signal, work);
      } finally {
        signal.removeEventListener('abort', abort);
        running.delete(stop);
      }
    },
    close() {
      isClosed = true;
      for (const each of running) each.abort(closed);
      idle.clear();
    },
  };
}

async function runOn<T>(
  connection: Connection,
  signal: AbortSignal,
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  const abort = (): void => connection.reset();
  signal.addEventListener('abort', abort, { once: true });
  try {
    signal.throwIfAborted();
    return await unlessAborted(signal, work(connection), () => {});
  } catch (error) {
    connection.reset();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** Counts what is in use, and lets others wait in order. */
function createSlots(max: number) {
  let used = 0;
  const waiting: (() => void)[] = [];
  const release = (): void => {
    const next = waiting.shift();
    if (next === undefined) used -= 1;
    else next();
  };
  return {
    async take(signal: AbortSignal): Promise<void> {
      signal.throwIfAborted();
      if (used < max) {
        used += 1;
        return;
      }
      // The slot of the call that ends passes to the first that waits.
      const turn = new Promise<void>((resolve) => waiting.push(resolve));
      await unlessAborted(signal, turn, release);
    },
    release,
  };
}

/** Keeps unused connections, and ends each after its time. */
function createIdle(idleMs: number) {
  const timers = new Map<Connection, NodeJS.Timeout>();
  const forget = (connection: Connection): void => {
    clearTimeout(timers.get(connection));
    timers.delete(connection);
  };
  const end = (connection: Connection): void => {
    forget(connection);
    connection.quit();
  };
  return {
    /** Returns the connection that was used last, because the others may then reach their time. */
    take(): Connection | undefined {
      for (const connection of [...timers.keys()].reverse()) {
        forget(connection);
        if (connection.isOpen()) return connection;
        connection.reset();
      }
      return undefined;
    },
    put(connection: Connection): void {
      timers.set(connection, setTimeout(() => end(connection), idleMs).unref());
    },
    clear(): void {
      for (const connection of timers.keys()) end(connection);
    },
  };
}
