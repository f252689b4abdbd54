import { checkHistory } from './check.ts';
import type {
  Answered,
  Asked,
  FinalState,
  GrantSeen,
  History,
  Kind,
  Operation,
  Outcome,
  TokenSeen,
} from './history.ts';

/**
 * Makes histories by hand, for tests of the checks. Times are small numbers; those of the wall clock differ from those of
 * the monotonic clock.
 */

interface Told extends Asked, Answered {
  outcome?: Outcome;
  status?: number;
  requestId?: string;
}

const askedKeys = [
  'agentId',
  'by',
  'once',
  'credential',
  'personId',
  'grantId',
  'jti',
  'leaseId',
  'subjectJti',
  'key',
  'scopes',
  'durationSeconds',
] as const;

/** Makes an operation from `begunMs` to `endedMs`, which succeeded unless `outcome` says otherwise. */
export function performed(kind: Kind, [begunMs, endedMs]: [number, number], rest: Told = {}): Operation {
  const { outcome = 'ok', status = 200, requestId = `${kind} ${begunMs}`, ...more } = rest;
  const asked = Object.fromEntries(Object.entries(more).filter(([key]) => askedKeys.includes(key as 'by')));
  const answered = Object.fromEntries(Object.entries(more).filter(([key]) => !(key in asked)));
  const times = { begunMs, endedMs, begunAtMs: begunMs };
  return { kind, actor: 'somebody', replica: 0, ...times, outcome, status, requestId, asked, answered };
}

export const grant = (changes: Partial<GrantSeen> = {}): GrantSeen => ({
  id: 'grant',
  agentId: 'agent',
  status: 'active',
  reason: 'key',
  scopes: ['read'],
  requestedScopes: ['read', 'write'],
  durationSeconds: 10,
  requestedDurationSeconds: 20,
  startsAtMs: 0,
  expiresAtMs: 10_000,
  approvedBy: [],
  ...changes,
});

export const token = (changes: Partial<TokenSeen> = {}): TokenSeen => ({
  jti: 'token',
  kid: 'key',
  agentId: 'agent',
  grantId: 'grant',
  scopes: ['read'],
  expiresAtMs: 9_000,
  ...changes,
});

/** Makes a read of a grant in state `status`. */
export const saw = (status: string, times: [number, number], changes: Partial<GrantSeen> = {}): Operation =>
  performed('read', times, { grants: [grant({ status, ...changes })] });

export const finalState = (changes: Partial<FinalState> = {}): FinalState => ({
  tokenRows: [],
  tokenEvents: [],
  recordedRequests: new Set(),
  grantRows: [],
  compromisedKids: new Set(),
  signatures: [],
  leaseRows: [],
  accounts: [],
  opinions: [],
  ...changes,
});

export const history = (...operations: Operation[]): History => ({
  operations: [...operations].sort((a, b) => a.endedMs - b.endedMs),
});

/** An operation of an agent that authenticates with its secret. */
export const secret = { agentId: 'agent', by: { credential: 'secret' } } as const;
export const minted = (times: [number, number] = [10, 20]): Operation =>
  performed('mint', times, { ...secret, token: token() });
export const broker = performed('broker-token', [10, 20], {
  ...secret,
  token: token({ jti: 'broker', grantId: null }),
});

/** Lists the violations in a history, each with the name of its check. */
export const found = (recorded: History): string[] =>
  checkHistory(recorded).map(({ check, what }) => `${check}: ${what}`);
export const fine: string[] = [];
