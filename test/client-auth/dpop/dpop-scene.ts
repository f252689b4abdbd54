import supertest from 'supertest';
import { permitAll } from '../../oauth/fixtures.ts';
import {
  createAgent,
  createPolicy,
  createResource,
  grantRequest,
  oauthPost,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../../support/broker.ts';
import { createReadyHolder, type Holder } from '../../support/dpop.ts';
import { FakeClock } from '../../support/fake-clock.ts';

export const tokenPath = '/oauth2/token';

export interface Call {
  scheme?: string;
  proof?: string | undefined;
  on?: { url: string };
  target?: string;
}

export type DpopScene = Awaited<ReturnType<typeof createDpopScene>>;

/** Creates two replicas, an agent with a grant, and functions that send requests of holders of keys. */
export async function createDpopScene() {
  const clock = new FakeClock();
  const broker: TestBroker = await startBroker({ clock });
  const replica: TestBroker = await startBroker({ clock, database: broker.database });
  await createPolicy(broker, permitAll);
  const agent: TestAgent = await createAgent(broker);
  const resource = await createResource(broker);
  const request = grantRequest(resource.identifier, { scopes: ['read'] });
  const granted = await (await agent.api()).post('/v1/grants', request).expect(201);

  const ask = (proof: string, form: Record<string, string> = {}, on: { url: string } = broker) =>
    oauthPost(on, tokenPath, { grant_type: 'client_credentials', ...form }, agent).set('DPoP', proof);

  return {
    clock,
    broker,
    replica,
    agent,
    resource,
    grantId: granted.body.id as string,
    ask,
    createReady: (): Promise<Holder> => createReadyHolder(clock, agent),
    /** Gets a broker token that is bound to the key of this holder. */
    boundToken: async (holder: Holder): Promise<string> =>
      (await ask(await holder.prove('POST', tokenPath)).expect(200)).body.access_token,
    /** Calls GET /v1/grants with a token: by default with the DPoP scheme and a valid proof. */
    async callWith(holder: Holder, token: string, call: Call = {}) {
      const { scheme = 'DPoP', on = broker, target = '/v1/grants' } = call;
      const proof = 'proof' in call ? call.proof : await holder.prove('GET', '/v1/grants', { token });
      const get = supertest(on.url).get(target).set('Authorization', `${scheme} ${token}`);
      return proof === undefined ? get : get.set('DPoP', proof);
    },
  };
}
