import { type Broker, type BrokerConfig, compose } from './compose.ts';
import { type Config, ConfigError, readConfig } from './config.ts';
import { BrokerError } from './errors.ts';
import { type Clock, delay, systemClock } from './platform/clock.ts';
import { createLog, type Log } from './platform/log.ts';
import { createSystemRandom } from './platform/random.ts';
import { listeningIssuer, loopbackOrigin, startEmbeddedMode } from './start/embedded-mode.ts';
import { type HttpServer, startHttpServer } from './start/http-server.ts';
import { onlyProbes } from './start/probes.ts';
import { releaseInOrder } from './start/release.ts';

interface Running {
  /**
   * Becomes not ready, starts no new work, completes requests and jobs in progress, and releases everything. Returns
   * true if nothing was cut off.
   */
  stop(): Promise<boolean>;
}

interface Start {
  config: Config;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
  /** Called when the lock of the embedded server is lost: the broker must stop. */
  onLost: () => void;
}

type CompleteConfig = BrokerConfig & { release(): Promise<void> };

/** The resources that a start has acquired so far. */
interface Held {
  api?: HttpServer;
  gateway?: HttpServer;
  metrics?: HttpServer;
  completed?: CompleteConfig;
  broker?: Broker;
}

/** Completes the configuration, in embedded mode with the values that the broker creates itself. */
async function completeConfig(start: Start, { api, gateway }: Held): Promise<CompleteConfig> {
  const { config } = start;
  const issuer = config.issuer ?? listeningIssuer(config.host, api?.port ?? config.port);
  if (config.databaseUrl !== undefined && config.masterKey !== undefined) {
    const { databaseUrl, masterKey } = config;
    return { ...config, databaseUrl, masterKey, issuer, release: async () => {} };
  }
  const gatewayUrl = config.gatewayUrl ?? (gateway && loopbackOrigin(config.gatewayHost, gateway.port));
  const embedded = await startEmbeddedMode({ ...start, random: createSystemRandom() });
  return { ...config, ...embedded, issuer, gatewayUrl, release: () => embedded.stop() };
}

/** Writes to standard output instead of the log, because the key must be shown only once, to the operator. */
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

/**
 * Ends all work and releases everything; servers are released before what they depend on. Returns true if nothing
 * failed or was cut off.
 */
function release(
  { api, gateway, metrics, completed, broker }: Held,
  { config, clock, log }: Start,
): Promise<boolean> {
  const deadlineMs = config.shutdownSeconds * 1000;
  const graceMs = config.shutdownGraceSeconds * 1000;
  const endJobs = async (): Promise<boolean> => {
    const ended = broker?.worker.stop().then(() => true);
    return ended === undefined || Promise.race([ended, delay(clock, deadlineMs).then(() => false)]);
  };
  const endWork = async (): Promise<boolean> => {
    const [drained, gatewayDrained, ended] = await Promise.all([
      api?.drain({ graceMs, deadlineMs }),
      gateway?.drain({ graceMs, deadlineMs }),
      endJobs(),
    ]);
    return drained !== false && gatewayDrained !== false && ended;
  };
  // In this order: otherwise a client that closes its connection on request could open another, which is then reset.
  for (const server of [api, gateway]) {
    if (config.shutdownDelaySeconds === 0) server?.stopListening();
    server?.closeAfterResponses();
  }
  return releaseInOrder(
    [
      async () => broker?.beginShutdown().then(() => true),
      async () => broker && delay(clock, config.shutdownDelaySeconds * 1000).then(() => true),
      endWork,
      async () => metrics?.drain({ graceMs: 0, deadlineMs: 1_000 }).then(() => true),
      async () => broker?.close().then(() => true),
      async () => completed?.release().then(() => true),
    ],
    (error) => log.error('a resource was not released', { err: error }),
  );
}

/** Whether this process listens as the gateway: if its URL is configured, or in embedded mode on a loopback address. */
function servesGateway({ role, gatewayUrl, gatewayHost, databaseUrl }: Config): boolean {
  if (role !== 'all' && role !== 'gateway') return false;
  return (
    gatewayUrl !== undefined || (databaseUrl === undefined && loopbackOrigin(gatewayHost, 1) !== undefined)
  );
}

async function run(start: Start): Promise<Running> {
  const { config, clock, log } = start;
  const held: Held = {};
  try {
    const api = await startHttpServer({ host: config.host, port: config.port, clock });
    held.api = api;
    if (servesGateway(config)) {
      held.gateway = await startHttpServer({ host: config.gatewayHost, port: config.gatewayPort, clock });
    }
    const metrics = await startHttpServer({ host: config.metricsHost, port: config.metricsPort, clock });
    held.metrics = metrics;
    const completed = await completeConfig(start, held);
    held.completed = completed;
    const broker = await compose(completed, { clock, log });
    held.broker = broker;
    api.serve(config.role === 'worker' || config.role === 'gateway' ? onlyProbes(broker.app) : broker.app);
    if (broker.gateway !== undefined) held.gateway?.serve(broker.gateway);
    metrics.serve(broker.metrics);
    if (config.role === 'all' || config.role === 'worker') await broker.worker.start();
    const key = broker.bootstrapped ? completed.bootstrapAdminKey : undefined;
    announce(config, { issuer: completed.issuer, bootstrapped: key });
  } catch (error) {
    await release(held, start);
    throw error;
  }
  return { stop: () => release(held, start) };
}

/** Exits with one line that tells the operator what to do. An unknown error is also logged, with its stack. */
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
  const startAborter = new AbortController();
  let running: Promise<Running> | undefined;
  let stopping = false;
  let log = earlyLog;
  const stop = async (reason: string): Promise<void> => {
    // A second signal has no effect: the shutdown continues.
    if (stopping) return;
    stopping = true;
    log.info('stopping', { reason });
    startAborter.abort(new Error('stopped while starting'));
    // An aborted start releases what it has acquired.
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
    running = run({
      config,
      clock: systemClock,
      log,
      signal: startAborter.signal,
      onLost: stopOrFail('lost'),
    });
    await running;
  } catch (error) {
    if (!startAborter.signal.aborted) fail(error, log);
  }
}

await main();
