import { connect, type Socket } from 'node:net';

/** Opens many connections at once, when told to, and answers how many were open before a lost one is tried again. */
const [port, count] = process.argv.slice(2).map(Number) as [number, number];
/** TCP sends a SYN that was not answered again after 1 s. */
const waitMs = 900;

process.stdout.write('ready\n');
process.stdin.once('data', () => {
  let connected = 0;
  const sockets = Array.from({ length: count }, (): Socket => {
    const socket = connect({ port, host: '127.0.0.1' }, () => {
      connected += 1;
    });
    return socket.on('error', () => {});
  });
  setTimeout(() => {
    process.stdout.write(`${JSON.stringify({ connected })}\n`, () => {
      for (const socket of sockets) socket.destroy();
      process.exit(0);
    });
  }, waitMs);
});
