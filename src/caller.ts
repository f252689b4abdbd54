export type Role = 'admin' | 'approver' | 'auditor';

/** The origin of a request, as the audit log records it. */
export interface Origin {
  requestId: string;
  /** The normalised IP address. With trusted proxies, the client address that they forward. */
  address: string;
}

/** A person, through one of their API keys. */
export interface Person {
  kind: 'person';
  id: string;
  keyId: string;
  /** The issuer of the key; null for the bootstrap key. */
  keyIssuedBy: string | null;
  roles: readonly Role[];
  groups: readonly string[];
}

/** An agent that authenticates with a broker token. */
export interface WorkloadAgent {
  kind: 'agent';
  id: string;
  /** The method with which the agent authenticated to get the token. */
  authMethod: string;
}

export type Caller = Person | WorkloadAgent;

/** The caller and origin of an action. Every use case that changes something takes one. */
export interface Act<C extends Caller = Caller> {
  caller: C;
  origin: Origin;
}
