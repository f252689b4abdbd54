import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { atEnd } from '../../../support/at-end.ts';

/**
 * A proxy to a target that holds messages. Each request of the broker and each response is one message, in every protocol: the points
 * at which a broker can die do not depend on how its engine is written.
 */
export interface MessageGate {
  port: number;
  /** Counts the messages of connections that are opened from now on, and holds message `step` and all later ones. */
  arm(step?: number): void;
  /** The messages since the gate was armed, with the first that is held. */
  messageCount(): number;
  isHolding(): boolean;
  /** Lets pass the messages of connections that are opened from now on. What is held stays held. */
  disarm(): void;
  /** Passes on what is held, in order, and everything that follows. */
  release(): void;
}

interface HeldMessage {
  to: Socket;
  bytes: Buffer;
}

/** The connections since a gate was armed. */
interface Round {
  step: number;
  messageCount: number;
  held: HeldMessage[];
}

export async function startMessageGate(target: { host: string; port: number }): Promise<MessageGate> {
  let round: Round | undefined;
  let last: Round = newRound();
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(target.port, target.host);
    for (const socket of [client, upstream]) sockets.add(socket.setNoDelay(true));
    forward(client, upstream, round);
    forward(upstream, client, round);
    for (const socket of [client, upstream]) socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  atEnd(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return {
    port: (server.address() as AddressInfo).port,
    arm(step) {
      last = newRound(step);
      round = last;
    },
    messageCount: () => last.messageCount,
    isHolding: () => last.held.length > 0,
    disarm() {
      round = undefined;
    },
    release() {
      const { held } = last;
      last.step = Number.POSITIVE_INFINITY;
      for (const { to, bytes } of held.splice(0)) if (!to.destroyed) to.write(bytes);
    },
  };
}

const newRound = (step = Number.POSITIVE_INFINITY): Round => ({ step, messageCount: 0, held: [] });

/** Passes on what one side sends, unless it is held. The end of a side ends the other, and what is held is lost then. */
function forward(from: Socket, to: Socket, round: Round | undefined): void {
  from.on('data', (bytes: Buffer) => {
    if (round !== undefined && isHeld(round)) round.held.push({ to, bytes });
    else to.write(bytes);
  });
  from.on('error', () => to.destroy());
  from.on('close', () => to.destroy());
}

function isHeld(round: Round): boolean {
  // Messages after the first that is held are no further steps.
  if (round.held.length > 0) return true;
  round.messageCount += 1;
  return round.messageCount >= round.step;
}
