import { type Broker, type BrokerConfig, compose } from './compose.ts';
import { type Config, ConfigError, readConfig } from './config.ts';
import { BrokerError } from './errors.ts';
import { type Clock, delay, systemClock } from './platform/clock.ts';
import { createLog, type Log } from './platform/log.ts';
import { createSystemRandom } from './platform/random.ts';
import { listeningIssuer, startEmbeddedMode } from './start/embedded-mode.ts';
import { type HttpServer, startHttpServer } from './start/http-server.ts';
import { onlyProbes } from './start/probes.ts';
import { releaseInOrder } from './start/release.ts';

interface Running {
  /** Not ready, no new work, what is in flight ends, everything is released. True if nothing was cut off. */
  stop(): Promise<boolean>;
}

interface Start {
  config: Config;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
  /** The embedded server is no longer ours: stop. */
  onLost: () => void;
}

type Settled = BrokerConfig & { release(): Promise<void> };

/** What a start has made so far. */
interface Held {
  api?: HttpServer;
  metrics?: HttpServer;
  settled?: Settled;
  broker?: Broker;
}

/** The parts of the configuration that the embedded mode makes by itself. */
async function settle(start: Start, port: number): Promise<Settled> {
  const { config } = start;
  const issuer = config.issuer ?? listeningIssuer(config.host, port);
  if (config.databaseUrl !== undefined && config.masterKey !== undefined) {
    const { databaseUrl, masterKey } = config;
    return { ...config, databaseUrl, masterKey, issuer, release: async () => {} };
  }
  const embedded = await startEmbeddedMode({ ...start, random: createSystemRandom() });
  return { ...config, ...embedded, issuer, release: () => embedded.stop() };
}

/** To standard output and not through the logger: it is shown once, to whoever started the broker. */
function announce(config: Config, broker: { issuer: string; bootstrapped: string | undefined }): void {
  const lines = [`Hallpass listens on ${broker.issuer}`];
  if (config.databaseUrl === undefined && broker.bootstrapped !== undefined) {
    lines.push(
      'First start. The key of the person "bootstrap" (admin, approver, auditor), shown this once:',
      '',
    );
    lines.push(`    ${broker.bootstrapped}`, '');
  }
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** Ends all work and releases everything, the servers before what they need. True if nothing failed or was cut off. */
function release({ api, metrics, settled, broker }: Held, { config, clock, log }: Start): Promise<boolean> {
  const deadlineMs = config.shutdownSeconds * 1000;
  const endJobs = async (): Promise<boolean> => {
    const ended = broker?.worker.stop().then(() => true);
    return ended === undefined || Promise.race([ended, delay(clock, deadlineMs).then(() => false)]);
  };
  const endWork = async (): Promise<boolean> => {
    const [drained, ended] = await Promise.all([api?.drain(deadlineMs), endJobs()]);
    return drained !== false && ended;
  };
  return releaseInOrder(
    [
      async () => broker?.beginShutdown().then(() => true),
      async () => broker && delay(clock, config.shutdownDelaySeconds * 1000).then(() => true),
      endWork,
      async () => metrics?.drain(1_000).then(() => true),
      async () => broker?.close().then(() => true),
      async () => settled?.release().then(() => true),
    ],
    (error) => log.error('something was not released', { err: error }),
  );
}

async function run(start: Start): Promise<Running> {
  const { config, clock, log } = start;
  const held: Held = {};
  try {
    const api = await startHttpServer({ host: config.host, port: config.port, clock });
    held.api = api;
    const metrics = await startHttpServer({ host: config.metricsHost, port: config.metricsPort, clock });
    held.metrics = metrics;
    const settled = await settle(start, api.port);
    held.settled = settled;
    const broker = await compose(settled, { clock, log });
    held.broker = broker;
    api.serve(config.role === 'worker' ? onlyProbes(broker.app) : broker.app);
    metrics.serve(broker.metrics);
    if (config.role !== 'api') await broker.worker.start();
    const key = broker.bootstrapped ? settled.bootstrapAdminKey : undefined;
    announce(config, { issuer: settled.issuer, bootstrapped: key });
  } catch (error) {
    await release(held, start);
    throw error;
  }
  return { stop: () => release(held, start) };
}

/** One line that says what to do; anything unknown with its stack, to the log. */
function fail(error: unknown, log: Log): never {
  const known = error instanceof ConfigError || error instanceof BrokerError;
  const inUse = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
  if (!known && !inUse) log.error('the start failed', { err: error });
  log.flush();
  process.stderr.write(`hallpass: ${describe(error)}\n`);
  process.exit(1);
}

function describe(error: unknown): string {
  if (error instanceof BrokerError) return error.detail ?? error.entry.title;
  return error instanceof Error ? error.message : String(error);
}

async function main(): Promise<void> {
  const earlyLog = createLog('info');
  const giveUp = new AbortController();
  let running: Promise<Running> | undefined;
  let stopping = false;
  let log = earlyLog;
  const stop = async (reason: string): Promise<void> => {
    // A second signal changes nothing: the first one's work goes on.
    if (stopping) return;
    stopping = true;
    log.info('stopping', { reason });
    giveUp.abort(new Error('stopped while starting'));
    // A start that is given up releases what it held by itself.
    const broker = await running?.catch(() => undefined);
    const drained = await broker?.stop();
    log.info('stopped', { outcome: drained === false ? 'cut off' : 'drained' });
    log.flush();
    process.exit(drained === false || reason === 'lost' ? 1 : 0);
  };
  const stopOrFail = (reason: string) => (): void => void stop(reason).catch((error) => fail(error, log));
  process.on('SIGTERM', stopOrFail('SIGTERM'));
  process.on('SIGINT', stopOrFail('SIGINT'));
  try {
    const config = readConfig();
    log = createLog(config.logLevel);
    running = run({ config, clock: systemClock, log, signal: giveUp.signal, onLost: stopOrFail('lost') });
    await running;
  } catch (error) {
    if (!giveUp.signal.aborted) fail(error, log);
  }
}

await main();
