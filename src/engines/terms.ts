/** The kinds of targets in which the broker makes accounts; `engines.ts` has the engine of each. */
export const engineKinds = ['postgres', 'mysql', 'redis', 'rabbitmq'] as const;

export type EngineKind = (typeof engineKinds)[number];

/** A server at which an engine makes accounts, as the broker reaches it. */
export interface Address {
  /** A host name or an IP address. */
  host: string;
  port: number;
}

export interface TlsSettings {
  /** `verify`: the certificate and the host name are checked. `off`: no TLS. */
  mode: 'verify' | 'off';
  /** Certificates (PEM) that are trusted instead of those of Node. */
  ca?: string | undefined;
}

/** The ports of a kind of target where nothing else is given. */
export interface UsualPorts {
  defaultPort: number;
  /** Where agents log in, with and without TLS, if it is not where the broker connects. */
  endpointPort?: Readonly<Record<TlsSettings['mode'], number>>;
}

/** A reason why leases cannot work, with what an admin of the target has to do. */
export interface TargetProblem {
  /** What is wrong, as a sentence without a full stop. */
  problem: string;
  /** The statement that an admin of the target runs to fix it; undefined if no single statement does. */
  statement?: string | undefined;
}
