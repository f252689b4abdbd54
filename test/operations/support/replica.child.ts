import { compose } from '../../../src/compose.ts';
import { readConfig } from '../../../src/config.ts';
import { systemClock as clock } from '../../../src/platform/clock.ts';
import { createLog } from '../../../src/platform/log.ts';
import { startHttpServer } from '../../../src/start/http-server.ts';

/** A replica whose jobs run when it is told to, instead of on their schedule: one for each message, its outcome back. */
const config = readConfig();
const { databaseUrl, masterKey, issuer } = config;
if (databaseUrl === undefined || masterKey === undefined || issuer === undefined)
  throw new Error('incomplete');
const log = createLog(config.logLevel);
const broker = await compose({ ...config, databaseUrl, masterKey, issuer }, { clock, log });
const server = await startHttpServer({ host: '127.0.0.1', port: config.port, clock });
server.serve(broker.app);
await broker.worker.register();
process.on('message', ({ job, slot }: { job: string; slot: string }) => {
  void broker.worker.runNow(job, new Date(slot)).then((outcome) => process.send?.({ outcome }));
});
process.send?.({ listening: true });
