import type { Mapping, TopicPermission, VhostPermission } from '../engines/mapping.ts';
import type { Address } from '../engines/terms.ts';
import type { ConnectionInput } from './connections/connection.ts';
import type { ConnectionView, PreflightResult, Scope } from './resource.ts';
import type { RouteMethod } from './upstreams/route-pattern.ts';

/** A scope in the API: its mapping is among its members. */
interface ScopeBody extends Omit<Scope, 'mapping'> {
  roles?: string[];
  rules?: string;
  permissions?: PermissionBody[];
  routes?: { methods: RouteMethod[]; path: string }[];
}

type PermissionBody = Omit<VhostPermission, 'topics'> & { topics?: TopicPermission[] };

export function toScope({ name, description, risk, ...mapping }: ScopeBody): Scope {
  const scope = { name, description, risk };
  return Object.keys(mapping).length === 0 ? scope : { ...scope, mapping: mapping as Mapping };
}

export function presentScope({ mapping, ...scope }: Scope): ScopeBody {
  return { ...scope, ...(mapping as Partial<ScopeBody> | undefined) };
}

interface ConnectionBody {
  host: string;
  port?: number;
  database?: string;
  username: string;
  password?: string;
  tls?: { mode: 'verify' | 'off'; ca?: string };
  replicas?: { host: string; port?: number }[];
  endpoint?: { host: string; port?: number };
  owned_objects?: 'keep' | 'drop';
  password_rotation_days?: number | null;
}

export function toConnectionInput(body: ConnectionBody): ConnectionInput {
  const { owned_objects: ownedObjects, password_rotation_days: passwordRotationDays, ...rest } = body;
  return { ...rest, ownedObjects, passwordRotationDays };
}

const presentAddress = ({ host, port }: Address): { host: string; port: number } => ({ host, port });

/** Converts a connection to its representation in the API, which never has a password. */
export function presentConnection(connection: ConnectionView | null) {
  if (connection === null) return null;
  const { id, host, port, database, username, tls, replicas, endpoint, ownedObjects } = connection;
  return {
    id,
    host,
    port,
    database,
    username,
    tls: { mode: tls.mode, ...(tls.ca === undefined ? {} : { ca: tls.ca }) },
    replicas: replicas.map(presentAddress),
    endpoint: presentAddress(endpoint),
    owned_objects: ownedObjects,
    password_rotation_days: connection.passwordRotationDays,
    password_changed_at: new Date(connection.passwordChangedAt).toISOString(),
  };
}

export function presentPreflight<P extends PreflightResult | null>(preflight: P) {
  const shown =
    preflight === null
      ? null
      : {
          at: preflight.at.toISOString(),
          problems: preflight.problems.map(({ problem, statement = null }) => ({ problem, statement })),
        };
  return shown as P extends null ? typeof shown : NonNullable<typeof shown>;
}
