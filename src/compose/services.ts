import { createAdminsService } from '../admins/service.ts';
import { createAgentsService } from '../agents/service.ts';
import { createAudit } from '../audit/audit.ts';
import { createAuditService } from '../audit/service.ts';
import { createDetailsRules } from '../authorization-details/details-type.ts';
import { createCallsService } from '../calls/service.ts';
import { createDpopNonces } from '../client-auth/dpop/dpop-nonces.ts';
import { createEnvelope } from '../crypto/envelope.ts';
import { createMac, type Mac } from '../crypto/mac.ts';
import type { KeyPurpose } from '../crypto/master-key.ts';
import type { Db } from '../db/database.ts';
import { createFeedReader } from '../feeds/feed-reader.ts';
import { createGrantEndings, type GrantEndings } from '../grants/endings/endings.ts';
import { changeStamp } from '../grants/grant.ts';
import { readVersions } from '../grants/store.ts';
import { createGrantSweep } from '../grants/sweep/service.ts';
import { GrantWatch } from '../grants/watch.ts';
import { createKeysService } from '../keys/service.ts';
import { createKeySets, type KeySets } from '../outbound/key-sets.ts';
import { createTurns, type Turns } from '../platform/turns.ts';
import { createPoliciesService } from '../policies/service.ts';
import { createRequestsService } from '../requests/service.ts';
import { createPasswordRotation } from '../resources/connections/rotation.ts';
import { createResourcesService } from '../resources/service.ts';
import { createUpstreamsService } from '../resources/upstreams/service.ts';
import { createTrustedIssuersService } from '../trusted-issuers/service.ts';
import { createWorkerService } from '../worker/service.ts';
import type { Base, BrokerConfig } from './base.ts';
import { createLeaseServices, createTargetServices } from './lease-services.ts';
import { createTokenServices } from './token-services.ts';

/** Creates the common dependencies and the services of the layer of features. */
function createFeatures(base: Base) {
  const { config, clock, random, log, ids, db } = base;
  const { issuer, gatewayUrl } = config;
  const { isFetchable } = base.outbound;
  const audit = createAudit({ clock, ids });
  const grantEndings = createGrantEndingsOf(base);
  const common = { db, audit, clock, random, ids, grantEndings };
  const envelope = createEnvelope({ current: config.masterKey, old: config.oldMasterKeys, random });
  const keys = createKeysService({
    ...common,
    envelope,
    onBroken: (kid, error) => log.error('a signing key is not usable', { key_id: kid, err: error }),
  });
  const targets = createTargetServices(base, { ...common, envelope });
  const ownOrigins = gatewayUrl === undefined ? [issuer] : [issuer, gatewayUrl];
  const upstreams = createUpstreamsService({ ...common, envelope, ownOrigins });
  const trustedIssuers = createTrustedIssuersService({ ...common, isFetchable, ownIssuer: issuer });
  return {
    common,
    envelope,
    keys,
    trustedIssuers,
    admins: createAdminsService(common),
    agents: createAgentsService({ ...common, isFetchable, trustedIssuers }),
    ...targets,
    upstreams,
    passwordRotation: createPasswordRotation({ ...common, envelope, targets: targets.targets }),
    resources: createResourcesService({
      ...common,
      issuer,
      gatewayUrl,
      upstreams,
      hasActiveKey: keys.hasActiveKey,
      connections: targets.connections,
    }),
    policies: createPoliciesService(common),
  };
}

/** Creates every service, wired by the narrow interfaces that they declare. */
export function createServices(base: Base) {
  const { config, clock, log, ids, db } = base;
  const features = createFeatures(base);
  const { common } = features;
  const { audit, grantEndings } = common;
  const watch = createWatch(base);
  const details = createDetailsRules();
  const grants = createRequestsService({ ...common, ...features, details, watch });
  const turns = createTurns(clock);
  const dpopNonces = createDpopNonces({ clock, mac: macFor(config, 'dpop-nonce') });
  const keySets = createKeySetsOf(base);
  const needed = { ...features, audit, turns, dpopNonces, keySets, details, grants, grantEndings };
  return {
    ...features,
    ...createTokenServices(base, needed),
    ...createLeaseServices(base, { ...common, ...features }),
    calls: createCallsOf(base, turns),
    watch,
    grants,
    grantEndings,
    turns,
    dpopNonces,
    keySets,
    sweep: createGrantSweep({ db, ids, clock, grantEndings }),
    feeds: createFeedReader({ db, clock, log, feeds: base.feeds }),
    auditService: createAuditService({ db, audit }),
    worker: createWorkerService({ db, clock }),
  };
}

function createGrantEndingsOf({ db, clock, ids, log }: Base): GrantEndings {
  return createGrantEndings({
    db,
    clock,
    ids,
    onError: (error) => log.warn('writing ended grants failed; a job retries it', { err: error }),
  });
}

/** Creates the record of calls, which has the pool of the gateway. */
function createCallsOf({ gateway, clock, log }: Base, turns: Turns) {
  return createCallsService({
    db: gateway.db,
    clock,
    turns,
    onError: (error, callId) =>
      log.error('the outcome of a call could not be recorded', { call_id: callId, err: error }),
  });
}

function createWatch({ db, clock, log }: Base): GrantWatch {
  return new GrantWatch({
    clock,
    readStamps: (ids) => readStamps(db, ids),
    onError: (error) => log.warn('polling for changed grants failed; it is retried', { err: error }),
  });
}

/** Creates the reader of other parties' key sets, which logs each failure. */
function createKeySetsOf({ outbound: client, clock, log }: Base): KeySets {
  return createKeySets({
    client,
    clock,
    onFailure: (place, failure) =>
      log.warn('reading the key set of an agent or a trusted issuer failed', {
        url: 'uri' in place ? place.uri : place.discovery,
        reason: failure.problem,
        err: failure.cause ?? failure,
      }),
  });
}

/** Creates the MAC of one purpose, under the master key and the old master keys, for values that clients return. */
export function macFor({ masterKey, oldMasterKeys }: BrokerConfig, purpose: KeyPurpose): Mac {
  const old = oldMasterKeys.map((key) => key.derive(purpose));
  return createMac(masterKey.derive(purpose), old);
}

export type Services = ReturnType<typeof createServices>;

async function readStamps(db: Db, ids: string[]): Promise<ReadonlyMap<string, string>> {
  return new Map((await readVersions(db, ids)).map((row) => [row.id, changeStamp(row)]));
}
