import type { Handlers } from '../http/operation.ts';
import type { CheckToken } from './check-token.ts';

export function checkTokenRoute(checkToken: CheckToken): Pick<Handlers, 'checkTrustedIssuerToken'> {
  return {
    async checkTrustedIssuerToken({ path, body }) {
      const {
        accepted,
        agentId: agent_id,
        checks,
        nearest,
      } = await checkToken({
        issuerId: path.trusted_issuer_id,
        token: body.token,
      });
      const nearest_identities = nearest.map(({ agentId, differences }) => ({
        agent_id: agentId,
        differences,
      }));
      return { status: 200, body: { accepted, agent_id, checks, nearest_identities } };
    },
  };
}
