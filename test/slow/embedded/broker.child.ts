import { openEmbeddedServer } from '../../../src/embedded/embedded-server.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { createLog } from '../../../src/platform/log.ts';
import { createSystemRandom } from '../../../src/platform/random.ts';

/** Starts a broker that only holds a data directory: it writes one JSON line, and stops when its input ends. */
const [dataDir = ''] = process.argv.slice(2);

function answer(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

try {
  const server = await openEmbeddedServer({
    dataDir,
    clock: systemClock,
    log: createLog('silent'),
    random: createSystemRandom(),
    onLost: () => answer({ lost: true }),
  });
  const { ownerUrl, applicationUrl, adminUrl, firstStart } = server;
  answer({ ownerUrl, applicationUrl, adminUrl, firstStart });
  process.stdin.resume();
  process.stdin.once('end', () => {
    void server.stop().then(() => process.exit(0));
  });
} catch (error) {
  answer({ error: error instanceof Error ? error.message : String(error) });
  process.exit(1);
}
