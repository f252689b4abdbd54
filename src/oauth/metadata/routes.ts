import { BrokerError } from '../../errors.ts';
import { anyOrigin } from '../../http/headers.ts';
import type { Handlers } from '../../http/operation.ts';
import type { Issuer } from '../../platform/issuer.ts';
import type { ResourcesService } from '../../resources/service.ts';
import { openidConfiguration, serverMetadata } from './authorization-server.ts';
import { ownMetadata, resourceMetadata } from './protected-resource.ts';

/** Metadata changes only with a new version of the broker, but a mistaken issuer should not stay cached for long. */
const metadataHeaders = { 'Cache-Control': 'public, max-age=300', ...anyOrigin };

type MetadataOperations =
  | 'getAuthorizationServerMetadata'
  | 'getOpenidConfiguration'
  | 'getProtectedResourceMetadata'
  | 'getResourceMetadata'
  | 'refuseAuthorization';

interface MetadataDeps {
  issuer: Issuer;
  resources: Pick<ResourcesService, 'get'>;
}

export function metadataRoutes({ issuer, resources }: MetadataDeps): Pick<Handlers, MetadataOperations> {
  return {
    async getAuthorizationServerMetadata() {
      return { status: 200, body: serverMetadata(issuer), headers: metadataHeaders };
    },
    async getOpenidConfiguration() {
      return { status: 200, body: openidConfiguration(issuer), headers: metadataHeaders };
    },
    async refuseAuthorization() {
      throw new BrokerError('unsupported-response-type');
    },
    async getProtectedResourceMetadata() {
      return { status: 200, body: ownMetadata(issuer), headers: metadataHeaders };
    },
    async getResourceMetadata({ path }) {
      return { status: 200, body: resourceMetadata(issuer, await resources.get(path.resource_id)) };
    },
  };
}
