import type { Audit } from '../../audit/audit.ts';
import type { Act, Person } from '../../caller.ts';
import type { Envelope } from '../../crypto/envelope.ts';
import type { Db, Tx } from '../../db/database.ts';
import { withTransaction } from '../../db/transaction.ts';
import { BrokerError } from '../../errors.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Ids } from '../../platform/ids.ts';
import {
  addCredential,
  type CredentialRequest,
  openSecret,
  removeCredential,
  removeCredentials,
  resealSecrets,
  storeSecret,
} from './credentials.ts';
import { type Route, routesOf } from './route-pattern.ts';
import * as store from './store.ts';
import {
  applyTerms,
  defaultTimeouts,
  type NewUpstream,
  sendsSecretElsewhere,
  termsProblem,
  type Upstream,
  type UpstreamCredentialView,
  type UpstreamTerms,
  type UpstreamView,
} from './upstream.ts';

export interface UpstreamsDeps {
  db: Db;
  audit: Audit;
  clock: Clock;
  ids: Ids;
  envelope: Envelope;
  /** The origins of the broker and of the gateway, at which no upstream may be. */
  ownOrigins: readonly string[];
}

/** An upstream with all that a call to it needs. */
export interface FoundUpstream extends Upstream {
  /** The identifier of its resource: the audience of the tokens for it. */
  identifier: string;
  scopes: { name: string; routes: Route[] }[];
  /** The secret that is in use; null if the upstream has no authentication. */
  secret: string | null;
}

export type UpstreamsService = ReturnType<typeof createUpstreamsService>;

/** Creates the service for the upstreams of resources of kind `http`, and for their credentials. */
export function createUpstreamsService(deps: UpstreamsDeps) {
  const { db, envelope, ownOrigins } = deps;
  return {
    /**
     * Finds an upstream by its slug. Returns undefined if it is unknown or its resource is deleted. Throws `EnvelopeError`
     * if its secret cannot be decrypted.
     */
    find: (db: Db, slug: string, now: Date): Promise<FoundUpstream | undefined> =>
      find(db, envelope, { slug, now }),
    isSlugFree: (tx: Tx, slug: string): Promise<boolean> => store.isSlugFree(tx, slug),
    /** Describes what is wrong with the terms of an upstream; undefined if nothing is. */
    termsProblem: (terms: UpstreamTerms): string | undefined => termsProblem(terms, ownOrigins),
    /** Adds the upstream of a resource that was inserted in `tx`. Its terms and its slug were checked. */
    insert: (tx: Tx, act: Act<Person>, upstream: UpstreamInsertion): Promise<UpstreamView> =>
      insert(deps, tx, { act, ...upstream }),
    /** Changes the upstream of a resource that is locked in `tx`. Throws `invalid-request` if its secret would go elsewhere. */
    change: (tx: Tx, act: Act<Person>, upstream: UpstreamChange): Promise<void> =>
      change(deps, tx, { act, ...upstream }),
    listCredentials: (resourceId: string): Promise<UpstreamCredentialView[]> =>
      store.listCredentials(db, resourceId),
    addCredential: (act: Act<Person>, request: CredentialRequest): Promise<UpstreamCredentialView> =>
      addCredential(deps, act, request),
    removeCredential: (
      act: Act<Person>,
      credential: { resourceId: string; credentialId: string },
    ): Promise<void> => removeCredential(deps, act, credential),
    /** Deletes the secrets of a resource. Returns how many it had. */
    deleteCredentials: async (tx: Tx, resourceId: string): Promise<number> =>
      (await store.deleteCredentials(tx, resourceId)).length,
    /** Encrypts again each secret that is encrypted with an old master key. Returns how many. */
    reseal: (fence: (tx: Tx) => Promise<void>): Promise<number> =>
      withTransaction(db, async (tx) => {
        await fence(tx);
        return resealSecrets(tx, envelope);
      }),
  };
}

/** What becomes the upstream of a new resource. */
export interface UpstreamInsertion {
  resourceId: string;
  slug: string;
  terms: NewUpstream;
}

/** A change of the upstream of a resource. `before` is the upstream as it is. */
export interface UpstreamChange {
  resourceId: string;
  before: UpstreamView;
  terms: UpstreamTerms;
}

async function find(
  db: Db,
  envelope: Envelope,
  { slug, now }: { slug: string; now: Date },
): Promise<FoundUpstream | undefined> {
  const found = await store.findUpstream(db, slug, now);
  if (found === undefined) return undefined;
  const { sealed, scopes, ...upstream } = found;
  const needsSecret = upstream.credential.type !== 'none';
  if (needsSecret && sealed === null)
    throw new Error(`${upstream.resourceId} has no credential of its upstream`);
  return {
    ...upstream,
    scopes: scopes.map(({ name, mapping }) => ({ name, routes: routesOf(mapping) })),
    secret: needsSecret && sealed !== null ? openSecret(envelope, sealed) : null,
  };
}

async function insert(
  deps: UpstreamsDeps,
  tx: Tx,
  { act, resourceId, slug, terms }: UpstreamInsertion & { act: Act<Person> },
): Promise<UpstreamView> {
  const { baseUrl, protocol, credential } = terms;
  const start = { baseUrl, credential: { type: 'none' as const }, ca: null, ...defaultTimeouts };
  const view = { slug, protocol, ...applyTerms(start, terms) };
  await store.insertUpstream(tx, { resourceId, ...view });
  await storeGivenSecret(deps, tx, { act, resourceId, secret: credential.secret });
  return view;
}

async function change(
  deps: UpstreamsDeps,
  tx: Tx,
  { act, resourceId, before, terms }: UpstreamChange & { act: Act<Person> },
): Promise<void> {
  if (sendsSecretElsewhere(before, terms)) {
    const detail =
      'another base_url or tls needs the credential with its secret: the stored secret is not sent there';
    throw new BrokerError('invalid-request', { detail });
  }
  await store.updateUpstream(tx, { resourceId, settings: applyTerms(before, terms) });
  if (terms.credential === undefined) return;
  await removeCredentials(deps, tx, { act, resourceId });
  await storeGivenSecret(deps, tx, { act, resourceId, secret: terms.credential.secret });
}

/** Stores a secret that is used from now on. Does nothing for an upstream without authentication. */
async function storeGivenSecret(
  deps: UpstreamsDeps,
  tx: Tx,
  { secret, ...about }: { act: Act<Person>; resourceId: string; secret: string | undefined },
): Promise<void> {
  if (secret === undefined) return;
  await storeSecret(deps, tx, { ...about, secret, activatesAt: deps.clock.now() });
}
