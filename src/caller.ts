export type Role = 'admin' | 'approver' | 'auditor';

/** Where a request came from: what goes into the record beside who did it. */
export interface Origin {
  requestId: string;
  /** Normalised IP address; behind trusted proxies, the one they vouch for. */
  address: string;
}

/** A person, through one of their API keys. */
export interface Person {
  kind: 'person';
  id: string;
  keyId: string;
  /** Who issued the key; null for the bootstrap key. */
  keyIssuedBy: string | null;
  roles: readonly Role[];
  groups: readonly string[];
}

/** An agent, through a broker token. */
export interface WorkloadAgent {
  kind: 'agent';
  id: string;
  /** How it proved itself to get the token. */
  authMethod: string;
}

export type Caller = Person | WorkloadAgent;

/** Who does something, and from where. Every use case that changes something takes one. */
export interface Act<C extends Caller = Caller> {
  caller: C;
  origin: Origin;
}
