import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';

/**
 * Opens many connections at once when it reads a line, and creates a file when all of them are open. Ends when its input
 * ends.
 */
const [port, count, file] = process.argv.slice(2) as [string, string, string];

process.stdout.write('ready\n');
process.stdin.once('data', () => {
  let connected = 0;
  for (let n = 0; n < Number(count); n += 1) {
    const socket = connect({ port: Number(port), host: '127.0.0.1' }, () => {
      connected += 1;
      if (connected === Number(count)) writeFileSync(file, '');
    });
    socket.on('error', () => {});
  }
});
process.stdin.once('end', () => process.exit(0));
