import { expect } from 'vitest';
import { type Api, asBootstrap, startBroker, type TestBroker, upstreamTerms } from '../../support/broker.ts';
import { FakeClock } from '../../support/fake-clock.ts';

export interface UpstreamScene {
  broker: TestBroker;
  clock: FakeClock;
  admin: Api;
  /** Reads the credentials of a resource. */
  credentialsOf: (resource: { id: string }) => Promise<Credential[]>;
  /** Reads the id of the oldest credential of a resource. */
  firstOf: (resource: { id: string }) => Promise<string>;
  /** Adds a credential. */
  add: (resource: { id: string }, body?: object) => ReturnType<Api['post']>;
  remove: (resource: { id: string }, id: string) => ReturnType<Api['delete']>;
  /** Reads the audit events about a resource and its credentials. */
  eventsAbout: (id: string) => Promise<AuditEvent[]>;
}

interface Credential {
  id: string;
  created_at: string;
  activates_at: string;
}

interface AuditEvent {
  type: string;
  object_id: string;
  details: Record<string, unknown>;
}

export const pathOf = ({ id }: { id: string }): string => `/v1/resources/${id}`;

/** What every credential has. */
export const credentialShape = {
  id: expect.stringMatching(/^upc_/),
  created_by: expect.stringMatching(/^adm_/),
};

let made = 0;

/** Returns a body that registers an API behind the gateway. */
export function newUpstream(change: Record<string, unknown> = {}, upstream: Record<string, unknown> = {}) {
  made += 1;
  return {
    identifier: `https://upstream-${made}.example/v1`,
    name: 'GitHub',
    max_grant_seconds: 3600,
    ...upstreamTerms(`upstream-${made}`, upstream),
    ...change,
  };
}

export async function startUpstreamScene(): Promise<UpstreamScene> {
  const clock = new FakeClock();
  const broker = await startBroker({ clock });
  const admin = asBootstrap(broker);
  const credentialsOf = async (resource: { id: string }): Promise<Credential[]> =>
    (await admin.get(pathOf(resource)).expect(200)).body.upstream_credentials;
  return {
    broker,
    clock,
    admin,
    credentialsOf,
    firstOf: async (resource) => (await credentialsOf(resource))[0]?.id ?? '',
    add: (resource, body = { secret: 'next-key' }) =>
      admin.post(`${pathOf(resource)}/upstream-credentials`, body),
    remove: (resource, id) => admin.delete(`${pathOf(resource)}/upstream-credentials/${id}`),
    // From the database: the API does not serve the newest until every older transaction has ended.
    eventsAbout: async (id) => {
      const { rows } = await broker.database.owner.query<AuditEvent>(
        `select type, object_id, details from audit_events
          where object_id = $1 or details ->> 'resource_id' = $1 order by tx, id`,
        [id],
      );
      return rows;
    },
  };
}
