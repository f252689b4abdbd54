import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';

/**
 * Sends requests at a constant rate, independent of earlier responses (an open loop), over connections that were
 * opened before and are kept. A latency starts when its request was due, even if no connection was free then, so that
 * a server that stalls cannot hide it by slowing the load down. Reads an `Order` from its input; writes an empty line
 * when all connections are open and the load starts, and a `Report` as one line at the end.
 */
export interface Order {
  url: string;
  authorization: string;
  forms: string[];
  /** A text that a correct response of status 200 contains. */
  expected: string;
  perSecond: number;
  seconds: number;
  connections: number;
}

/** Quantiles in milliseconds. */
export interface Latencies {
  p50: number;
  p99: number;
  max: number;
}

export interface Report {
  sent: number;
  ok: number;
  /** The number of responses with 503 and Retry-After. */
  shed: number;
  /** The number of other responses. */
  bad: number;
  /** The number of broken connections, and of requests without a response some seconds after the last request was due. */
  lost: number;
  /** Correct responses while requests were still due, per second. */
  okPerSecond: number;
  okLatency: Latencies;
  shedLatency: Latencies;
  /** How much later than due requests were sent because no connection or time was free. */
  sendDelay: Latencies;
}

const openedAtATime = 100;
const tickMs = 1;
const drainMs = 10_000;

interface Connection {
  socket: Socket;
  dueAt: number;
  busy: boolean;
  received: string;
}

function summarize(values: number[]): Latencies {
  const sorted = Float64Array.from(values).sort();
  const at = (share: number): number =>
    sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

class Generator {
  readonly #order: Order;
  readonly #requests: Buffer[];
  readonly #idle: Connection[] = [];
  readonly #okMs: number[] = [];
  readonly #shedMs: number[] = [];
  readonly #delayMs: number[] = [];
  #sent = 0;
  #bad = 0;
  #lost = 0;
  #busy = 0;
  #okInTime = 0;
  #endsAt = 0;

  constructor(order: Order) {
    this.#order = order;
    const { pathname, host } = new URL(order.url);
    this.#requests = order.forms.map((form) =>
      Buffer.from(
        `POST ${pathname} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${order.authorization}\r\n` +
          `Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ${form.length}\r\n\r\n${form}`,
      ),
    );
  }

  async open(): Promise<void> {
    const { hostname, port } = new URL(this.#order.url);
    for (let opened = 0; opened < this.#order.connections; opened += openedAtATime) {
      const count = Math.min(openedAtATime, this.#order.connections - opened);
      await Promise.all(
        Array.from({ length: count }, async () => {
          const socket = connect({ host: hostname, port: Number(port), noDelay: true });
          await once(socket, 'connect');
          this.#adopt(socket);
        }),
      );
    }
  }

  #adopt(socket: Socket): void {
    const connection: Connection = { socket, dueAt: 0, busy: false, received: '' };
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => this.#receive(connection, chunk));
    socket.on('error', () => {});
    socket.on('close', () => {
      if (connection.busy) this.#lost += 1;
      if (connection.busy) this.#busy -= 1;
      const at = this.#idle.indexOf(connection);
      if (at >= 0) this.#idle.splice(at, 1);
    });
    this.#idle.push(connection);
  }

  #send(connection: Connection, dueAt: number): void {
    const request = this.#requests[this.#sent % this.#requests.length];
    if (request === undefined) throw new Error('nothing to send');
    connection.dueAt = dueAt;
    connection.busy = true;
    this.#sent += 1;
    this.#busy += 1;
    this.#delayMs.push(performance.now() - dueAt);
    connection.socket.write(request);
  }

  #receive(connection: Connection, chunk: string): void {
    connection.received += chunk;
    const { received } = connection;
    const head = received.indexOf('\r\n\r\n');
    if (head === -1) return;
    const length = /\r\ncontent-length: (\d+)/i.exec(received)?.[1];
    if (received.length < head + 4 + Number(length)) return;
    connection.received = '';
    connection.busy = false;
    this.#busy -= 1;
    const now = performance.now();
    const status = received.slice(9, 12);
    if (status === '200' && received.includes(this.#order.expected, head)) {
      this.#okMs.push(now - connection.dueAt);
      if (now <= this.#endsAt) this.#okInTime += 1;
    } else if (status === '503' && /\r\nretry-after: \d+\r\n/i.test(received)) {
      this.#shedMs.push(now - connection.dueAt);
    } else this.#bad += 1;
    this.#idle.push(connection);
  }

  async run(): Promise<Report> {
    const { perSecond, seconds } = this.#order;
    const total = Math.round(perSecond * seconds);
    const intervalMs = 1000 / perSecond;
    const startsAt = performance.now();
    this.#endsAt = startsAt + seconds * 1000;
    let next = 0;
    while (next < total && performance.now() < this.#endsAt + drainMs) {
      const due = Math.min(Math.floor((performance.now() - startsAt) / intervalMs) + 1, total);
      while (next < due) {
        const connection = this.#idle.shift();
        if (connection === undefined) break;
        this.#send(connection, startsAt + next * intervalMs);
        next += 1;
      }
      await new Promise((resolve) => setTimeout(resolve, tickMs));
    }
    const givesUpAt = performance.now() + drainMs;
    while (this.#busy > 0 && performance.now() < givesUpAt) {
      await new Promise((resolve) => setTimeout(resolve, tickMs));
    }
    return {
      sent: this.#sent,
      ok: this.#okMs.length,
      shed: this.#shedMs.length,
      bad: this.#bad,
      lost: this.#lost + this.#busy + (total - next),
      okPerSecond: this.#okInTime / seconds,
      okLatency: summarize(this.#okMs),
      shedLatency: summarize(this.#shedMs),
      sendDelay: summarize(this.#delayMs),
    };
  }
}

const generator = new Generator(JSON.parse(await text(process.stdin)) as Order);
await generator.open();
process.stdout.write('\n');
process.stdout.write(`${JSON.stringify(await generator.run())}\n`, () => process.exit(0));
