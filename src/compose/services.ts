import { createAdminsService } from '../admins/service.ts';
import { type AgentsService, createAgentsService } from '../agents/service.ts';
import { createAuditService } from '../audit/service.ts';
import { createAudit } from '../audit/store.ts';
import { createDetailsRules } from '../authorization-details/details-type.ts';
import type { Config } from '../config.ts';
import { createEnvelope } from '../crypto/envelope.ts';
import { createMac, type Mac } from '../crypto/mac.ts';
import type { KeyPurpose, MasterKey } from '../crypto/master-key.ts';
import { type Database, type Db, openDatabase } from '../db/database.ts';
import { withPartitions } from '../db/partitions.ts';
import { changeStamp } from '../grants/grant.ts';
import { createGrantsService } from '../grants/service.ts';
import { readVersions } from '../grants/store.ts';
import { createGrantSweep } from '../grants/sweep/service.ts';
import { GrantWatch } from '../grants/watch.ts';
import { createKeysService, type KeysService } from '../keys/service.ts';
import { createDpop } from '../oauth/dpop/dpop.ts';
import { createDpopNonces, type DpopNonces } from '../oauth/dpop/dpop-nonces.ts';
import type { Issuer } from '../oauth/issuer.ts';
import { createOauthService, type OauthDeps } from '../oauth/service.ts';
import { createAddressRules } from '../outbound/address-rules.ts';
import { createKeySets, type KeySets } from '../outbound/key-sets.ts';
import { createOutboundClient, type OutboundClient } from '../outbound/outbound-client.ts';
import { type Clock, systemClock } from '../platform/clock.ts';
import { createIds } from '../platform/ids.ts';
import { createLog, type Log } from '../platform/log.ts';
import { createSystemRandom, type Random } from '../platform/random.ts';
import { createTurns } from '../platform/turns.ts';
import { createPoliciesService } from '../policies/service.ts';
import { createOneTimeValues } from '../replay/one-time-values.ts';
import { createResourcesService, type ResourcesService } from '../resources/service.ts';
import { createTrustedIssuersService, type TrustedIssuersService } from '../trusted-issuers/service.ts';
import { createWorkerService } from '../worker/service.ts';
import { clientFinders } from './client-finders.ts';

/** What a broker needs to know; `main` fills in what the embedded mode makes by itself. */
export interface BrokerConfig
  extends Pick<
    Config,
    | 'logLevel'
    | 'oldMasterKeys'
    | 'trustedProxies'
    | 'outboundAllow'
    | 'dpopNonce'
    | 'preparedStatements'
    | 'rateLimitPerSecond'
  > {
  databaseUrl: string;
  masterKey: MasterKey;
  issuer: Issuer;
  bootstrapAdminKey: string | undefined;
}

/** What tests and benches replace. */
export interface Overrides {
  clock?: Clock;
  random?: Random;
  log?: Log;
  /** How the broker calls others. */
  outbound?: OutboundClient;
  /** Names this replica among those that may run jobs. */
  holder?: string;
  /** Throw on answers that break the contract. */
  validateResponses?: boolean;
  observe?: (operation: string, status: number) => void;
}

/** What every part of a broker is made with. */
export interface Base {
  config: BrokerConfig;
  clock: Clock;
  random: Random;
  log: Log;
  ids: ReturnType<typeof createIds>;
  /** For everything but minting, so that load on tokens takes no connection from who revokes. */
  database: Database;
  hot: Database;
  db: Db;
  outbound: OutboundClient;
}

const generalConnections = 10;
/** Two batches of writes and two of reads at a time, and the look-ups that missed the caches. */
const hotConnections = 6;

export function createBase(config: BrokerConfig, overrides: Overrides): Base {
  const { clock = systemClock, random = createSystemRandom() } = overrides;
  const log = overrides.log ?? createLog(config.logLevel);
  const shared = { url: config.databaseUrl, log };
  const general = { maxConnections: generalConnections, applicationName: 'hallpass' };
  const database = openDatabase({ ...shared, ...general });
  // Their values are arrays of rows, of which a planner learns nothing; with many rows in the tables it would try each time.
  const tokens = { maxConnections: hotConnections, applicationName: 'hallpass tokens' };
  const hot = openDatabase({ ...shared, ...tokens, keepPlans: config.preparedStatements });
  const { outbound = createOutboundClient({ isAllowed: createAddressRules(config.outboundAllow) }) } =
    overrides;
  const ids = createIds(clock, random);
  return { config, clock, random, log, ids, database, hot, db: database.db, outbound };
}

/** Every service, wired by the narrow interfaces that they declare. */
export function createServices(base: Base) {
  const { config, clock, random, log, ids, db } = base;
  const { issuer } = config;
  const { isFetchable } = base.outbound;
  const audit = createAudit({ clock, ids });
  const common = { db, audit, clock, random, ids };
  const envelope = createEnvelope({ current: config.masterKey, old: config.oldMasterKeys, random });
  const keys = createKeysService({
    ...common,
    envelope,
    onBroken: (kid, error) => log.error('a signing key is not usable', { key_id: kid, err: error }),
  });
  const admins = createAdminsService(common);
  const trustedIssuers = createTrustedIssuersService({ ...common, isFetchable, ownIssuer: issuer });
  const agents = createAgentsService({ ...common, isFetchable, trustedIssuers });
  const resources = createResourcesService({ ...common, issuer, hasActiveKey: keys.hasActiveKey });
  const policies = createPoliciesService(common);
  const watch = createWatch(base);
  const details = createDetailsRules();
  const grants = createGrantsService({ ...common, admins, agents, resources, policies, details, watch });
  const turns = createTurns(clock);
  const dpopNonces = createDpopNonces({ clock, mac: macFor(config, 'dpop-nonce') });
  const clients = { agents, resources, trustedIssuers };
  const keySets = createKeySetsOf(base);
  const needed = { audit, turns, dpopNonces, keys, keySets, policies, details, grants, ...clients };
  const oauth = createOauth(base, needed);
  const sweep = createGrantSweep({ db, ids, clock });
  return {
    common,
    envelope,
    keys,
    admins,
    agents,
    trustedIssuers,
    resources,
    policies,
    watch,
    grants,
    turns,
    dpopNonces,
    keySets,
    oauth,
    sweep,
    auditService: createAuditService({ db, audit }),
    worker: createWorkerService({ db, clock }),
  };
}

function createWatch({ db, clock, log }: Base): GrantWatch {
  return new GrantWatch({
    clock,
    readStamps: (ids) => readStamps(db, ids),
    onError: (error) => log.warn('the poll for changed grants failed', { err: error }),
  });
}

/** The keys of others, read over the network; a failure is told by the log. */
function createKeySetsOf({ outbound: client, clock, log }: Base): KeySets {
  return createKeySets({
    client,
    clock,
    onFailure: (place, failure) =>
      log.warn('keys of somebody else could not be read', {
        url: 'uri' in place ? place.uri : place.discovery,
        reason: failure.problem,
        err: failure.cause ?? failure,
      }),
  });
}

type OfOauth = Pick<OauthDeps, 'audit' | 'turns' | 'policies' | 'details' | 'grants' | 'keySets'> & {
  keys: KeysService;
  agents: AgentsService;
  resources: ResourcesService;
  trustedIssuers: TrustedIssuersService;
  dpopNonces: DpopNonces;
};

function createOauth(
  { config, clock, ids, database, hot, db }: Base,
  { keys, agents, resources, trustedIssuers, dpopNonces, ...rest }: OfOauth,
) {
  const { turns } = rest;
  const { preparedStatements: prepared } = config;
  const through = (pool: Database) => ({
    findClient: clientFinders(pool.db, clock, { agents, resources, trustedIssuers }),
    oneTimeValues: createOneTimeValues({
      hot: { ...pool, prepared },
      turns,
      withPartitions: (work) => withPartitions(pool.db, clock, work),
    }),
  });
  const access = through(hot);
  return createOauthService({
    ...rest,
    resources,
    db,
    clock,
    ids,
    hot: { ...hot, prepared },
    issuer: config.issuer,
    ring: keys.ring,
    clients: access,
    dpop: createDpop({
      clock,
      issuer: config.issuer,
      nonces: dpopNonces,
      requireNonce: config.dpopNonce === 'required',
      oneTimeValues: access.oneTimeValues,
    }),
    clientsApart: through(database),
    withPartitions: (work) => withPartitions(hot.db, clock, work),
  });
}

/** Authenticates what clients carry for us, for one purpose, under the master key and the old ones. */
export function macFor({ masterKey, oldMasterKeys }: BrokerConfig, purpose: KeyPurpose): Mac {
  const old = oldMasterKeys.map((key) => key.derive(purpose));
  return createMac(masterKey.derive(purpose), old);
}

export type Services = ReturnType<typeof createServices>;

async function readStamps(db: Db, ids: string[]): Promise<ReadonlyMap<string, string>> {
  return new Map((await readVersions(db, ids)).map((row) => [row.id, changeStamp(row)]));
}
