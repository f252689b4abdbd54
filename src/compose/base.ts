import type { Config } from '../config.ts';
import type { MasterKey } from '../crypto/master-key.ts';
import { type Database, type Db, openDatabase } from '../db/database.ts';
import type { CreateSocket } from '../engines/engine.ts';
import { type Engines, engines as knownEngines } from '../engines/engines.ts';
import type { Feed } from '../feeds/feed.ts';
import type { CompiledContract } from '../http/compiled-contract.ts';
import { createAddressRules, createListedRules, isLoopback } from '../outbound/address-rules.ts';
import { createOutboundClient, type OutboundClient } from '../outbound/outbound-client.ts';
import { createTargetSockets } from '../outbound/target-socket.ts';
import { createUpstreamClient, type UpstreamClient } from '../outbound/upstream-client.ts';
import { type Clock, systemClock } from '../platform/clock.ts';
import { createIds } from '../platform/ids.ts';
import type { Issuer } from '../platform/issuer.ts';
import { createLog, type Log } from '../platform/log.ts';
import { createSystemRandom, type Random } from '../platform/random.ts';
import { createFeeds } from './feeds.ts';

/** The configuration of a broker. In embedded mode `main` supplies the parts that it generates. */
export interface BrokerConfig
  extends Pick<
    Config,
    | 'logLevel'
    | 'oldMasterKeys'
    | 'trustedProxies'
    | 'outboundAllow'
    | 'targetAllow'
    | 'targetPlaintext'
    | 'dpopNonce'
    | 'preparedStatements'
    | 'rateLimitPerSecond'
  > {
  databaseUrl: string;
  masterKey: MasterKey;
  issuer: Issuer;
  /** The origin of the gateway. Undefined: no resource shows a URL at the gateway. */
  gatewayUrl: Issuer | undefined;
  bootstrapAdminKey: string | undefined;
}

/** The parts that tests and benchmarks replace. */
export interface Overrides {
  clock?: Clock;
  random?: Random;
  log?: Log;
  /** The client for all outbound calls. */
  outbound?: OutboundClient;
  /** The client for calls through the gateway. */
  upstreamClient?: UpstreamClient;
  /** The engines of targets. */
  engines?: Engines;
  /** Whether the broker's own database server may be a target, as in tests with one server. */
  allowOwnDatabase?: boolean;
  /** The readers of the audit log. */
  feeds?: readonly Feed[];
  /** The name of this replica as the holder of job leases. */
  holder?: string;
  /** The compiled contract, for brokers of one process to share. */
  contract?: CompiledContract;
  observe?: (operation: string, status: number) => void;
}

/** The dependencies that every part of a broker shares. */
export interface Base {
  config: BrokerConfig;
  clock: Clock;
  random: Random;
  log: Log;
  ids: ReturnType<typeof createIds>;
  /** The pool for everything but minting and introspection, so that their load leaves connections to revocation. */
  database: Database;
  hot: Database;
  /** The pool of the gateway: its load leaves connections to everything else. */
  gateway: Database;
  /** The pool of the worker that ends leases, so that neither it nor requests wait for the other's connections. */
  ending: Database;
  db: Db;
  outbound: OutboundClient;
  upstreamClient: UpstreamClient;
  createSocket: CreateSocket;
  engines: Engines;
  allowOwnDatabase: boolean;
  feeds: readonly Feed[];
}

const generalConnections = 10;
/**
 * The connections of the hot path: two for batches of writes, two for batches of reads, two for look-ups that miss
 * the caches.
 */
const hotConnections = 6;
const endingConnections = 4;
const gatewayConnections = 6;

export function createBase(config: BrokerConfig, overrides: Overrides): Base {
  const { clock = systemClock, random = createSystemRandom() } = overrides;
  const log = overrides.log ?? createLog(config.logLevel);
  const shared = { url: config.databaseUrl, log };
  const general = { maxConnections: generalConnections, applicationName: 'hallpass' };
  const database = openDatabase({ ...shared, ...general });
  // The parameters are arrays of rows, whose values do not help the planner; with many rows it would plan each time.
  const tokens = { maxConnections: hotConnections, applicationName: 'hallpass tokens' };
  const hot = openDatabase({ ...shared, ...tokens, keepPlans: config.preparedStatements });
  const { outbound = createOutboundClient({ isAllowed: createAddressRules(config.outboundAllow) }) } =
    overrides;
  const {
    upstreamClient = createUpstreamClient({
      isAllowed: createAddressRules(config.outboundAllow),
      isAllowedInPlaintext: createListedRules(config.outboundAllow),
    }),
  } = overrides;
  const ending = openDatabase({
    ...shared,
    maxConnections: endingConnections,
    applicationName: 'hallpass leases',
  });
  const forGateway = { maxConnections: gatewayConnections, applicationName: 'hallpass gateway' };
  const gateway = openDatabase({ ...shared, ...forGateway });
  const ids = createIds(clock, random);
  const { feeds = createFeeds(), engines = knownEngines, allowOwnDatabase = false } = overrides;
  const isAllowedInPlaintext = createListedRules(config.targetPlaintext);
  const createSocket = createTargetSockets({
    isAllowed: createAddressRules(config.targetAllow),
    isAllowedInPlaintext: (address) => isLoopback(address) || isAllowedInPlaintext(address),
  });
  const targets = { createSocket, engines, allowOwnDatabase };
  return {
    config,
    clock,
    random,
    log,
    ids,
    database,
    hot,
    ending,
    gateway,
    db: database.db,
    outbound,
    upstreamClient,
    feeds,
    ...targets,
  };
}
