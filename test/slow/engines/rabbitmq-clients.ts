import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { type ChannelModel, connect } from 'amqplib';
import { atEnd } from '../../support/at-end.ts';
import type { RabbitmqSubject } from './rabbitmq-subject.ts';

interface Credentials {
  name: string;
  password: string;
}

/** A session of an agent: a raw connection that has logged in. */
export interface RawSession {
  hasEnded(): boolean;
}

/** Logs in by AMQP 0-9-1 as an agent does. The connection is closed when the test file ends. */
export async function logInByAmqp(
  { amqpPort, vhost }: RabbitmqSubject,
  { name, password }: Credentials,
): Promise<ChannelModel> {
  const connection = await connect({
    hostname: '127.0.0.1',
    port: amqpPort,
    username: name,
    password,
    // The library decodes it.
    vhost: encodeURIComponent(vhost),
    heartbeat: 0,
  });
  connection.on('error', () => {});
  atEnd(() => connection.close().catch(() => {}));
  return connection;
}

/** Returns the socket of a connection of amqplib, which reads nothing from now on. */
export function stopReading(connection: ChannelModel): Socket {
  const { stream } = connection.connection as unknown as { stream: Socket };
  stream.removeAllListeners('readable');
  atEnd(async () => stream.destroy());
  return stream;
}

/** Opens a connection whose answers are read one after the other. */
async function openRaw(port: number) {
  const socket = connectTcp(port, '127.0.0.1');
  socket.on('error', () => {});
  atEnd(async () => socket.destroy());
  await once(socket, 'connect');
  let isClosed = false;
  socket.on('close', () => {
    isClosed = true;
  });
  return {
    session: { hasEnded: () => isClosed },
    async ask(message: Buffer): Promise<Buffer> {
      socket.write(message);
      const [answer] = (await Promise.race([once(socket, 'data'), once(socket, 'close')])) as [unknown];
      if (Buffer.isBuffer(answer)) return answer;
      throw new Error('the server closed the connection');
    },
  };
}

const short = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const long = (value: number): Buffer => Buffer.concat([short(value >>> 16), short(value & 0xffff)]);
const shortText = (text: string): Buffer =>
  Buffer.concat([short(Buffer.byteLength(text)), Buffer.from(text)]);

/** Logs in by MQTT 3.1.1 (section 3.1). */
export async function logInByMqtt(
  { mqttPort, vhost }: RabbitmqSubject,
  { name, password }: Credentials,
): Promise<RawSession> {
  const { session, ask } = await openRaw(mqttPort);
  const content = Buffer.concat([
    shortText('MQTT'),
    // Level 4; a user name, a password and a clean session; no keep-alive.
    Buffer.from([4, 0b11000010, 0, 0]),
    ...['agent', `${vhost}:${name}`, password].map(shortText),
  ]);
  // The remaining length has seven bits in each byte.
  const length = Buffer.from([(content.length & 0x7f) | 0x80, content.length >> 7]);
  const answer = await ask(Buffer.concat([Buffer.from([0x10]), length, content]));
  if (answer[0] !== 0x20 || answer[3] !== 0) throw new Error(`refused by MQTT: ${answer.toString('hex')}`);
  return session;
}

/** Logs in by STOMP 1.2. */
export async function logInByStomp(
  { stompPort, vhost }: RabbitmqSubject,
  { name, password }: Credentials,
): Promise<RawSession> {
  const { session, ask } = await openRaw(stompPort);
  const headers = [`accept-version:1.2`, `host:${vhost}`, `login:${name}`, `passcode:${password}`];
  const answer = await ask(Buffer.from(`CONNECT\n${headers.join('\n')}\n\n\0`));
  if (!answer.toString().startsWith('CONNECTED')) throw new Error(`refused by STOMP: ${answer.toString()}`);
  return session;
}

/** Logs in by the stream protocol of RabbitMQ (PROTOCOL.adoc of rabbitmq_stream). */
export async function logInByStream(
  { streamPort, vhost }: RabbitmqSubject,
  { name, password }: Credentials,
): Promise<RawSession> {
  const { session, ask } = await openRaw(streamPort);
  const frame = (key: number, ...content: Buffer[]): Buffer => {
    const body = Buffer.concat([short(key), short(1), ...content]);
    return Buffer.concat([long(body.length), body]);
  };
  const correlation = long(1);
  const plain = Buffer.from(`\0${name}\0${password}`);
  await ask(frame(17, correlation, long(0)));
  await ask(frame(18, correlation));
  const answer = await ask(frame(19, correlation, shortText('PLAIN'), long(plain.length), plain));
  if (answer.readUInt16BE(12) !== 1) throw new Error('refused by the stream protocol');
  // The session is open when the server lists it.
  await ask(Buffer.concat([frame(20, long(1_048_576), long(0)), frame(21, correlation, shortText(vhost))]));
  return session;
}
