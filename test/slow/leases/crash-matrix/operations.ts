import { apiOf, asBootstrap } from '../../../support/broker.ts';
import { grantFor, type Lane, type Scene } from './scene.ts';
import type { KnownPassword } from './victim.ts';

interface Broker {
  url: string;
}

export interface Preparation {
  lane: Lane;
  survivor: Broker;
  /** The token of the agent. */
  token: string;
  /** How long a lease lasts that is there before the operation. */
  ttlSeconds: number;
}

/** An operation that is ready to run at another broker. */
interface Prepared {
  /** Sends its requests. Resolves when all are answered. */
  request(broker: Broker): Promise<unknown>;
  /** Whether what a background worker does for it is done. */
  isDone(): Promise<boolean>;
}

type Prepare = (scene: Scene, preparation: Preparation) => Promise<Prepared>;

/** How many leases of one target end at the same time, so that an engine may end them together. */
const endingTogether = 2;

const lease = async (scene: Scene, { lane, survivor, token, ttlSeconds }: Preparation): Promise<string> => {
  const api = apiOf(survivor, token);
  const terms = { grant_id: await grantFor(api, lane), ttl_seconds: ttlSeconds };
  const { body } = await api.post('/v1/leases', terms).expect(201);
  scene.known.push(body.credential as KnownPassword);
  return body.id;
};

const always = async (): Promise<boolean> => true;

/** What a broker does for leases and with the password of its account in the target. */
export const operations = {
  async create(_scene, { lane, survivor, token }) {
    const grantId = await grantFor(apiOf(survivor, token), lane);
    return {
      request: (broker) => apiOf(broker, token).post('/v1/leases', { grant_id: grantId }),
      isDone: always,
    };
  },
  async renew(scene, preparation) {
    const id = await lease(scene, preparation);
    const { token } = preparation;
    return {
      request: (broker) => apiOf(broker, token).post(`/v1/leases/${id}/renew`, { ttl_seconds: 1_800 }),
      isDone: always,
    };
  },
  async revoke(scene, preparation) {
    const ids: string[] = [];
    for (let n = 0; n < endingTogether; n += 1) ids.push(await lease(scene, preparation));
    return {
      request: (broker) =>
        Promise.all(ids.map((id) => apiOf(broker, preparation.token).post(`/v1/leases/${id}/revoke`))),
      async isDone() {
        const { rows } = await scene.database.owner.query(
          'select from leases where id = any($1) and cleaned_up_at is null',
          [ids],
        );
        return rows.length === 0;
      },
    };
  },
  async rotate(_scene, { lane }) {
    return {
      request: (broker) => asBootstrap(broker).post(`/v1/resources/${lane.resourceId}/rotate-password`),
      isDone: always,
    };
  },
} satisfies Record<string, Prepare>;

export type OperationName = keyof typeof operations;
export const operationNames = Object.keys(operations) as OperationName[];
