import { asBootstrap, createPerson } from '../support/broker.ts';
import { createKey } from '../support/key-agent.ts';
import { signIssuerToken } from '../support/test-issuer.ts';
import { createFederationScene } from './federation-scene.ts';

export type IdentityScene = Awaited<ReturnType<typeof createIdentityScene>>;

interface IssuerTerms {
  issuer?: string;
  audience?: string;
  tenant_claims?: string[];
}

/** Starts two replicas, and returns functions that register trusted issuers with keys, and agents with identities. */
export async function createIdentityScene() {
  const scene = await createFederationScene();
  const admin = () => asBootstrap(scene.broker);
  let issuers = 0;

  /** Registers a trusted issuer with a key, under a new name or as `terms.issuer`. */
  async function createIssuer(terms: IssuerTerms = {}) {
    issuers += 1;
    const key = createKey();
    const issuer = terms.issuer ?? `https://ci-${issuers}.example`;
    const jwks = { keys: [key.jwk] };
    const id = await scene.trust({ ...terms, issuer, jwks });
    const issueToken = (sub: string, claims: object = {}) =>
      signIssuerToken({ issuer, key, now: () => scene.clock.now() }, sub, { claims });
    return { id, issuer, key, jwks, issueToken };
  }

  const agentTerms = async (identities: object[]) => ({
    name: 'federated',
    environment: 'production',
    owner: (await createPerson(scene.broker)).id,
    token_endpoint_auth_method: 'federated_jwt',
    identities,
  });

  return {
    ...scene,
    admin,
    createIssuer,
    agentTerms,
    /** Creates an agent with these identities and returns its id. */
    async createAgent(identities: object[]): Promise<string> {
      const created = await admin()
        .post('/v1/agents', await agentTerms(identities))
        .expect(201);
      return created.body.id;
    },
    /** Returns the id of the agent that a token authenticates. */
    async agentOf(token: string): Promise<string> {
      const { body } = await scene.asGrant(token).expect(200);
      return JSON.parse(Buffer.from(body.access_token.split('.')[1], 'base64url').toString()).sub;
    },
  };
}
