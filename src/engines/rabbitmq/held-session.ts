import type { ChannelModel } from 'amqplib';
import { runBounded } from '../bounded-call.ts';
import type { HeldSession, NewAccount, TargetOptions } from '../engine.ts';
import { logIn } from './amqp-login.ts';
import { toTargetFailure } from './failure.ts';
import { openSocket } from './open-socket.ts';

const defaultVhost = '/';

/** Logs in by AMQP at the address for agents, and holds the session. */
export function holdSession(
  { connection, createSocket, timeoutMs }: TargetOptions,
  account: Pick<NewAccount, 'name' | 'password'>,
): Promise<HeldSession> {
  const { endpoint, tls, database: vhost = defaultVhost } = connection;
  const bounds = { timeoutMs, toFailure: toTargetFailure };
  return runBounded(bounds, async (signal) => {
    const socket = await openSocket(endpoint, { tls, createSocket, signal });
    const session = await logIn(socket, { ...account, vhost }, signal);
    let isClosed = false;
    session.on('close', () => {
      isClosed = true;
    });
    return {
      hasEnded: () => runBounded(bounds, async () => isClosed || !(await isAnswered(session))),
      async close() {
        await session.close().catch(() => {});
        socket.destroy();
      },
    };
  });
}

/** Asks the server for a channel, which fails only if the connection has ended. */
async function isAnswered(session: ChannelModel): Promise<boolean> {
  try {
    await (await session.createChannel()).close();
    return true;
  } catch {
    return false;
  }
}
