import { compose } from '../../../../src/compose.ts';
import { readConfig } from '../../../../src/config.ts';
import { systemClock as clock } from '../../../../src/platform/clock.ts';
import { createLog } from '../../../../src/platform/log.ts';
import { startHttpServer } from '../../../../src/start/http-server.ts';

/**
 * Starts a replica that runs no job on its schedule. Each message from the parent process names a job and a slot; the replica
 * runs it and replies with the outcome.
 */
const config = readConfig();
const { databaseUrl, masterKey, issuer } = config;
if (databaseUrl === undefined || masterKey === undefined || issuer === undefined)
  throw new Error('DATABASE_URL, HALLPASS_MASTER_KEY and HALLPASS_PUBLIC_URL must be set');
const log = createLog(config.logLevel);
const broker = await compose({ ...config, databaseUrl, masterKey, issuer }, { clock, log });
const server = await startHttpServer({ host: '127.0.0.1', port: config.port, clock });
server.serve(broker.app);
await broker.worker.register();
process.on('message', ({ job, slot }: { job: string; slot: string }) => {
  void broker.worker.runNow(job, new Date(slot)).then((outcome) => process.send?.({ outcome }));
});
process.send?.({ listening: true });
