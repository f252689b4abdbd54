import { Agent } from 'node:http';
import type {
  Answered,
  Asked,
  GrantSeen,
  Kind,
  LeaseSeen,
  Operation,
  Outcome,
  TokenSeen,
} from '../../chaos-checker/history.ts';
import type { AnyJson } from '../../support/any-json.ts';
import { exchange, type Message, type Reply } from './exchange.ts';

/** A replica to which requests can be sent. */
export interface Target {
  replica: number;
  url: string;
}

/** A request that an actor is about to send. */
export interface Intent {
  kind: Kind;
  actor: string;
  target: Target;
  message: Message;
  asked: Asked;
  /** Extracts the results from a successful response. */
  read?: (body: Reply['body']) => Answered;
}

/** Sends requests, and records each as an operation with its result. */
export interface Recorder {
  operations: Operation[];
  /** The issued tokens in encoded form, by `jti`. */
  rawTokens: Map<string, string>;
  perform(intent: Intent): Promise<Performed>;
  /** Records a login at the target, which no replica takes part in. */
  performLogin(actor: string, asked: Asked, logIn: () => Promise<Outcome>): Promise<void>;
}

export interface Performed {
  /** The recorded operation. */
  operation: Operation;
  /** The body of a successful response. */
  body: Reply['body'] | undefined;
  /** The nonce for the next DPoP proof, if the response has one. */
  nonce: string | undefined;
}

/** Converts a grant from the form of the contract. */
export function readGrant(grant: AnyJson): GrantSeen {
  const ms = (time: string | null): number | null => (time === null ? null : Date.parse(time));
  return {
    id: grant.id,
    agentId: grant.agent_id,
    parentId: grant.parent_id,
    status: grant.status,
    reason: grant.reason,
    scopes: grant.scopes,
    requestedScopes: grant.requested_scopes,
    durationSeconds: grant.duration_seconds,
    requestedDurationSeconds: grant.requested_duration_seconds,
    startsAtMs: ms(grant.starts_at),
    expiresAtMs: ms(grant.expires_at),
    approvedBy: grant.decision.approvals.map(({ by }: { by: string }) => by),
  };
}

export const showsGrant = (body: Reply['body']): Answered => ({ grants: [readGrant(body)] });
export const showsGrants = (body: Reply['body']): Answered => ({ grants: body.items.map(readGrant) });

/** Reads the claims of a token without verification: the final checks verify it. */
export function readToken(raw: string): TokenSeen {
  const part = (index: number) =>
    JSON.parse(Buffer.from(raw.split('.')[index] ?? '', 'base64url').toString());
  const claims = part(1);
  return {
    jti: claims.jti,
    kid: part(0).kid,
    // In a token that was obtained by exchange, `sub` is the party on whose behalf the agent acts.
    agentId: claims.client_id,
    grantId: claims.grant_id ?? null,
    scopes: claims.scope.split(' '),
    expiresAtMs: claims.exp * 1000,
  };
}

/** Converts a lease from the form of the contract. */
export const showsLease = (lease: Reply['body']): { lease: LeaseSeen } => ({
  lease: {
    id: lease.id,
    agentId: lease.agent_id,
    accessDisabledAtMs: lease.access_disabled_at === null ? null : Date.parse(lease.access_disabled_at),
  },
});

export const showsToken = (body: Reply['body']): Answered => ({ token: readToken(body.access_token) });

/** The statuses with which logins are recorded: HTTP would have these. */
const loginStatuses: Record<Outcome, number | undefined> = { ok: 200, refused: 401, unknown: undefined };

/** The number of a replica in an operation in which none takes part. */
const noReplica = -1;

/** Returns the outcome of a request. It is `unknown` if the request may or may not have changed something. */
function outcomeOf(reply: Reply | 'unreached' | 'broken'): Outcome {
  if (reply === 'unreached') return 'refused';
  if (reply === 'broken' || reply.status >= 500) return 'unknown';
  return reply.status < 300 ? 'ok' : 'refused';
}

export function createRecorder(): Recorder & { close(): void } {
  const operations: Operation[] = [];
  const rawTokens = new Map<string, string>();
  const connections = new Agent({ keepAlive: true, maxFreeSockets: 64 });
  return {
    operations,
    rawTokens,
    close: () => connections.destroy(),
    async performLogin(actor, asked, logIn) {
      const [begunMs, begunAtMs] = [performance.now(), Date.now()];
      const outcome = await logIn();
      const endedMs = performance.now();
      const times = { begunMs, endedMs, begunAtMs };
      const status = loginStatuses[outcome];
      operations.push({
        kind: 'log-in',
        actor,
        replica: noReplica,
        ...times,
        outcome,
        status,
        asked,
        answered: {},
      });
    },
    async perform({ kind, actor, target, message, asked, read = () => ({}) }) {
      const begunMs = performance.now();
      const begunAtMs = Date.now();
      const reply = await exchange(target.url, message, connections);
      const endedMs = performance.now();
      const outcome = outcomeOf(reply);
      const answer = typeof reply === 'string' ? undefined : reply;
      const operation: Operation = {
        kind,
        actor,
        replica: target.replica,
        begunMs,
        endedMs,
        begunAtMs,
        outcome,
        status: answer?.status,
        code: answer?.body?.code ?? answer?.body?.error,
        requestId: answer?.requestId,
        asked,
        answered: outcome === 'ok' ? read(answer?.body) : {},
      };
      operations.push(operation);
      const { token } = operation.answered;
      if (token !== undefined) rawTokens.set(token.jti, answer?.body.access_token);
      return { operation, body: outcome === 'ok' ? answer?.body : undefined, nonce: answer?.nonce };
    },
  };
}
