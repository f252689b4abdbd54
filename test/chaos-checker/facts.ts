import { type GrantSeen, type History, isOk, isPossible, type Operation, type TokenSeen } from './history.ts';

/** One read of a grant. */
export interface Sighting {
  operation: Operation;
  grant: GrantSeen;
}

export interface GrantFacts {
  id: string;
  agentId: string;
  /** The reads, in the order in which they began. */
  sightings: Sighting[];
  /** The operations that may have changed the grant. */
  attempts: Operation[];
  /** The operation that created the grant, if its response was received. */
  request: Operation | undefined;
  expiresAtMs: number | undefined;
}

export interface Switches {
  /** The operations that certainly happened. */
  disables: Operation[];
  /** The operations that may have happened. */
  enables: Operation[];
  possibleDisables: Operation[];
}

/** A history, grouped by its objects. */
export interface Facts extends History {
  tokens: ReadonlyMap<string, { token: TokenSeen; mint: Operation }>;
  grants: ReadonlyMap<string, GrantFacts>;
  agents: ReadonlyMap<string, Switches>;
  /** Requests for grants by idempotency key. */
  requests: ReadonlyMap<string, Operation[]>;
  /** The first operation that certainly withdrew each credential. */
  withdrawals: ReadonlyMap<string, Operation>;
  /** The operations with which each one-time value was sent. */
  once: ReadonlyMap<string, Operation[]>;
}

function add<Value>(map: Map<string, Value[]>, key: string | undefined, value: Value): void {
  if (key === undefined) return;
  const values = map.get(key);
  if (values === undefined) map.set(key, [value]);
  else values.push(value);
}

function tokensOf(operations: readonly Operation[]): Facts['tokens'] {
  const minted = operations.flatMap((mint) => {
    const { token } = mint.answered;
    return token === undefined ? [] : [[token.jti, { token, mint }] as const];
  });
  return new Map(minted);
}

function grantsOf(operations: readonly Operation[], requests: Facts['requests']): Facts['grants'] {
  const sightings = new Map<string, Sighting[]>();
  const attempts = new Map<string, Operation[]>();
  for (const operation of operations) {
    for (const grant of operation.answered.grants ?? []) add(sightings, grant.id, { operation, grant });
    if (isPossible(operation)) add(attempts, operation.asked.grantId, operation);
  }
  const grants = [...sightings].flatMap(([id, seen]) => {
    seen.sort((a, b) => a.operation.begunMs - b.operation.begunMs);
    const [first] = seen;
    if (first === undefined) return [];
    const { agentId, reason } = first.grant;
    const request = requests.get(reason)?.find(isOk);
    const expiresAtMs = seen.find(({ grant }) => grant.expiresAtMs !== null)?.grant.expiresAtMs ?? undefined;
    const facts = { id, agentId, sightings: seen, attempts: attempts.get(id) ?? [], request, expiresAtMs };
    return [[id, facts] as const];
  });
  return new Map(grants);
}

function agentsOf(operations: readonly Operation[]): Facts['agents'] {
  const agents = new Map<string, Switches>();
  for (const operation of operations.filter(({ kind }) => kind === 'disable' || kind === 'enable')) {
    const id = operation.asked.agentId ?? '';
    const switches = agents.get(id) ?? { disables: [], enables: [], possibleDisables: [] };
    agents.set(id, switches);
    if (!isPossible(operation)) continue;
    if (operation.kind === 'enable') switches.enables.push(operation);
    else switches.possibleDisables.push(operation);
    if (operation.kind === 'disable' && isOk(operation)) switches.disables.push(operation);
  }
  return agents;
}

function withdrawalsOf(operations: readonly Operation[]): Facts['withdrawals'] {
  const withdrawals = new Map<string, Operation>();
  for (const one of operations.filter(isOk)) {
    const { credential } = one.asked;
    if (credential === undefined) continue;
    const first = withdrawals.get(credential);
    if (first === undefined || one.endedMs < first.endedMs) withdrawals.set(credential, one);
  }
  return withdrawals;
}

export function factsOf(history: History): Facts {
  const { operations } = history;
  const requests = new Map<string, Operation[]>();
  const once = new Map<string, Operation[]>();
  for (const operation of operations) {
    if (operation.kind === 'request') add(requests, operation.asked.key, operation);
    for (const name of operation.asked.once ?? []) add(once, name, operation);
  }
  return {
    ...history,
    tokens: tokensOf(operations),
    grants: grantsOf(operations, requests),
    agents: agentsOf(operations),
    requests,
    withdrawals: withdrawalsOf(operations),
    once,
  };
}
