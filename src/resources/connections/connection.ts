import type { Address, EngineKind, TlsSettings, UsualPorts } from '../../engines/terms.ts';

/** How the broker reaches a target, without the password. A connection never changes: a change makes another one. */
export interface Connection extends Address {
  /** `con_...` */
  id: string;
  resourceId: string;
  kind: EngineKind;
  /** Null if the kind of target has no databases. */
  database: string | null;
  username: string;
  tls: TlsSettings;
  /** Further servers with the same accounts. */
  replicas: Address[];
  /** The server as agents reach it. */
  endpoint: Address;
  ownedObjects: 'keep' | 'drop';
  /** How old the password may become before the broker replaces it; null if it never does. */
  passwordRotationDays: number | null;
  createdAt: Date;
  createdBy: string;
}

/** A connection as an admin writes it. */
export interface ConnectionInput {
  host: string;
  port?: number | undefined;
  database?: string | undefined;
  username: string;
  /** Undefined for the password that the broker has for this account. */
  password?: string | undefined;
  tls?: TlsSettings | undefined;
  replicas?: { host: string; port?: number | undefined }[] | undefined;
  endpoint?: { host: string; port?: number | undefined } | undefined;
  ownedObjects?: 'keep' | 'drop' | undefined;
  passwordRotationDays?: number | null | undefined;
}

/** What the broker knows of a new connection. */
export interface NewConnectionFacts
  extends Pick<Connection, 'id' | 'resourceId' | 'kind' | 'createdAt' | 'createdBy'> {
  ports: UsualPorts;
}

/** Fills in the defaults: the usual ports of the engine, verified TLS, no replicas, agents reach the same host. */
export function toConnection(input: ConnectionInput, { ports, ...about }: NewConnectionFacts): Connection {
  const port = input.port ?? ports.defaultPort;
  const tls = input.tls ?? { mode: 'verify' };
  const withPort = (address: { host: string; port?: number | undefined }, usual: number): Address => ({
    host: address.host,
    port: address.port ?? usual,
  });
  const endpointPort = ports.endpointPort?.[tls.mode];
  return {
    ...about,
    host: input.host,
    port,
    database: input.database ?? null,
    username: input.username,
    tls,
    replicas: (input.replicas ?? []).map((address) => withPort(address, ports.defaultPort)),
    endpoint: withPort(
      input.endpoint ?? { host: input.host },
      endpointPort ?? (input.endpoint === undefined ? port : ports.defaultPort),
    ),
    ownedObjects: input.ownedObjects ?? 'keep',
    passwordRotationDays: input.passwordRotationDays ?? null,
  };
}
