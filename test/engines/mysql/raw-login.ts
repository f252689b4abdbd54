import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { atEnd } from '../../support/at-end.ts';

/** A login that a client prolongs: the server has read the name, and waits for the proof of the password. */
export interface ProlongedLogin {
  /** Sends the proof. Returns whether the server lets the client in; false if it has ended the connection. */
  finish(): Promise<boolean>;
  /** Whether the server answers a statement. */
  isUsable(): Promise<boolean>;
}

interface Account {
  name: string;
  password: string;
}

/** CLIENT_LONG_PASSWORD, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH (MariaDB, Connecting). */
const capabilities = 0x1 | 0x200 | 0x2000 | 0x8000 | 0x80000;
const utf8mb4 = 45;
/** The server does not know this method, so it asks the client to use another, and waits for the answer. */
const unknownMethod = Buffer.from('no_such_method\0');

/** Begins a login as an agent does that wants it to end later than the lease. */
export async function prolongLogin(port: number, account: Account): Promise<ProlongedLogin> {
  return (await openConnection(port)).begin(account);
}

/** Opens a connection, on which a client may log in later. The server waits for the name. */
export async function openConnection(port: number) {
  const link = await openLink(port);
  await link.read();
  return {
    async begin(account: Account): Promise<ProlongedLogin> {
      const header = Buffer.alloc(32);
      header.writeUInt32LE(capabilities, 0);
      header.writeUInt32LE(1 << 24, 4);
      header[8] = utf8mb4;
      link.send(1, Buffer.concat([header, Buffer.from(`${account.name}\0\0`), unknownMethod]));
      return toLogin(link, await link.read(), account);
    },
    /** Begins to log in as another account on a connection with a session (COM_CHANGE_USER). */
    async change(account: Account): Promise<ProlongedLogin> {
      const name = Buffer.from(`${account.name}\0\0\0`);
      link.send(0, Buffer.concat([Buffer.from([0x11]), name, Buffer.from([utf8mb4, 0]), unknownMethod]));
      return toLogin(link, await link.read(), account);
    },
  };
}

type Link = Awaited<ReturnType<typeof openLink>>;

function toLogin(link: Link, request: Buffer | undefined, { password }: Account): ProlongedLogin {
  if (request?.[1] !== 0xfe) throw new Error('the server did not ask for the proof');
  const seed = request.subarray(request.indexOf(0, 2) + 1).subarray(0, 20);
  return {
    async finish() {
      link.send((request[0] ?? 0) + 1, proofOf(password, seed));
      return (await link.read())?.[1] === 0;
    },
    async isUsable() {
      link.send(0, Buffer.from('\x03do 1'));
      return (await link.read())?.[1] === 0;
    },
  };
}

function proofOf(password: string, seed: Buffer): Buffer {
  const sha1 = (...parts: (string | Buffer)[]): Buffer =>
    parts.reduce((hash, part) => hash.update(part), createHash('sha1')).digest();
  const first = sha1(password);
  const mask = sha1(seed, sha1(first));
  return Buffer.from(first.map((byte, index) => byte ^ (mask[index] ?? 0)));
}

/** Opens a connection. Packets begin with their sequence number; undefined means that the server has ended the connection. */
async function openLink(port: number) {
  const socket = connect(port, '127.0.0.1');
  atEnd(async () => socket.destroy());
  socket.on('error', () => {});
  await once(socket, 'connect');
  let received = Buffer.alloc(0);
  let isEnded = false;
  let wake = (): void => {};
  socket.on('data', (data) => {
    received = Buffer.concat([received, data]);
    wake();
  });
  socket.on('close', () => {
    isEnded = true;
    wake();
  });
  return {
    async read(): Promise<Buffer | undefined> {
      const size = (): number => (received.length < 4 ? 4 : 4 + received.readUIntLE(0, 3));
      while (received.length < size() || received.length < 4) {
        if (isEnded) return undefined;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      const end = size();
      const packet = received.subarray(3, end);
      received = received.subarray(end);
      return packet;
    },
    send(sequence: number, content: Buffer): void {
      const head = Buffer.alloc(4);
      head.writeUIntLE(content.length, 0, 3);
      head[3] = sequence;
      socket.write(Buffer.concat([head, content]));
    },
  };
}
