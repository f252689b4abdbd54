import type { Handlers } from '../../http/operation.ts';
import { presentCredential } from './present.ts';
import type { UpstreamsService } from './service.ts';

interface UpstreamRoutesDeps {
  upstreams: Pick<UpstreamsService, 'addCredential' | 'removeCredential'>;
}

export function upstreamRoutes({
  upstreams,
}: UpstreamRoutesDeps): Pick<Handlers, 'createUpstreamCredential' | 'deleteUpstreamCredential'> {
  return {
    async createUpstreamCredential({ path, body, ...act }) {
      const { secret, activates_at: from } = body;
      const activatesAt = from === undefined ? undefined : new Date(from);
      const request = { resourceId: path.resource_id, secret, activatesAt };
      return { status: 201, body: presentCredential(await upstreams.addCredential(act, request)) };
    },
    async deleteUpstreamCredential({ path, ...act }) {
      const credential = { resourceId: path.resource_id, credentialId: path.upstream_credential_id };
      await upstreams.removeCredential(act, credential);
      return { status: 204 };
    },
  };
}
