import { type Audit, asUnrecorded } from '../audit/audit.ts';
import type { DetailsRules } from '../authorization-details/details-type.ts';
import type { Act, WorkloadAgent } from '../caller.ts';
import type { AuthenticatedClient } from '../client-auth/authenticated-client.ts';
import type { Dpop } from '../client-auth/dpop/dpop.ts';
import type { Db } from '../db/database.ts';
import type { HotStatements } from '../db/hot-statements.ts';
import { statementBatches } from '../db/statement-batches.ts';
import type { KeyRing } from '../keys/key-ring.ts';
import { Batcher } from '../platform/batcher.ts';
import type { Clock } from '../platform/clock.ts';
import type { Ids } from '../platform/ids.ts';
import type { Turns } from '../platform/turns.ts';
import type { PoliciesService } from '../policies/service.ts';
import { findActiveToken, noClient, type TokenReaders } from './active-token.ts';
import { authenticateHolder, type BrokerCredential } from './broker-token.ts';
import { introspect } from './introspection.ts';
import { type MintDeps, type MintRequest, mint } from './mint.ts';
import { type RevocationDeps, revoke } from './revocation.ts';
import { type MintRow, mintTokens } from './store/mint-tokens.ts';
import { type Activity, type ActivityQuery, readActivity, readOpenActivity } from './store/read-activity.ts';
import { usableUntil } from './token-expiry.ts';
import { createTokenSources } from './token-source.ts';
import { createUseDecisions } from './use-decisions.ts';
import { createVerifiedTokens, type TokenKey } from './verified-tokens.ts';

export interface TokensDeps {
  /** The pool for revocation, whose connections minting does not use. */
  db: Db;
  /** The pool for minting and introspection. */
  hot: HotStatements & { db: Db };
  audit: Audit;
  clock: Clock;
  turns: Pick<Turns, 'afterTurn'>;
  ids: Ids;
  issuer: string;
  ring: KeyRing;
  policies: Pick<PoliciesService, 'engine' | 'refresh'>;
  dpop: Dpop;
  /** Runs a write, and runs it again after making a missing partition. */
  withPartitions: <T>(work: () => Promise<T>) => Promise<T>;
  details: DetailsRules;
  grantEndings: RevocationDeps['grantEndings'];
}

export type TokensService = ReturnType<typeof createTokensService>;

/** Creates the service that mints, introspects and revokes tokens. */
export function createTokensService(deps: TokensDeps) {
  const readers: TokenReaders = { tokens: createVerifiedTokens(deps), readActivity: batchReads(deps) };
  const minting = createMinting(deps);
  const context = { ...deps, ...readers };
  return {
    /** Throws `overloaded` if the queue of tokens to be written is full. */
    assertRoom: () => minting.writer.assertRoom(),
    /** Mints a token; undefined if something in memory is out of date. See `mint`. */
    mint: (request: MintRequest, options: { fresh: boolean }) => mint(minting, request, options),
    /** Finds an active token of this server; undefined if the text is not one. */
    findActive: (text: string) => findActiveToken(readers, text),
    /** Reads for each token under which something has begun whether it may go on: its grant and all that it depends on are active. */
    mayGoOn: async (keys: readonly TokenKey[]): Promise<boolean[]> => {
      const queries = keys.map((key) => ({ ...key, ...noClient }));
      const found = await readOpenActivity(deps.hot, queries, deps.clock.now());
      return found.map(({ agentId }) => agentId !== null);
    },
    /** Introspects a token for a client; undefined if the client's credential is no longer valid. */
    introspect: (client: AuthenticatedClient, text: string) => introspect(readers, client, text),
    /** Revokes a token of the agent. Throws `unavailable`. */
    revoke: (act: Act<WorkloadAgent>, text: string) => revoke(context, act, text),
    /** Authenticates an agent by its broker token; undefined if it is not an active one. Throws `unauthenticated`. */
    authenticate: (credential: BrokerCredential): Promise<WorkloadAgent | undefined> =>
      authenticateHolder(context, credential),
  };
}

/** Batches the reads of concurrent requests into one statement. */
function batchReads({ clock, hot, turns }: TokensDeps): TokenReaders['readActivity'] {
  const activity = new Batcher<ActivityQuery, Activity>({
    ...statementBatches,
    turns,
    run: (queries) => readActivity(hot, queries, clock.now()),
  });
  return (query) => activity.submit(query);
}

function createMinting(deps: TokensDeps): MintDeps {
  const { hot, clock, details, policies } = deps;
  return {
    ...deps,
    sources: createTokenSources({ db: hot.db, clock, details }),
    decisions: createUseDecisions(policies.engine),
    writer: createWriter(deps),
  };
}

/**
 * The most tokens that may wait to be written, besides those being written: the work of a fast core in a tenth of a
 * second. Further requests are refused before any work is done for them, so that a refusal costs next to nothing.
 */
const maxWaitingTokens = 1_024;

/** Batches the tokens of concurrent requests into one statement. */
function createWriter({ clock, hot, turns, withPartitions }: TokensDeps): Batcher<MintRow, boolean> {
  const run = async (rows: MintRow[]) => {
    const now = clock.now();
    try {
      return await withPartitions(() => mintTokens(hot, rows, { now, usableUntil: usableUntil(now) }));
    } catch (error) {
      throw asUnrecorded(error);
    }
  };
  return new Batcher({ ...statementBatches, turns, run, maxQueue: maxWaitingTokens });
}
