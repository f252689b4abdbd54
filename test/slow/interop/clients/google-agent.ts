import { ExternalAccountClient } from 'google-auth-library';

interface Identity {
  issuer: string;
  /** The identifier of the resource. */
  resource: string;
  scope: string;
  /**
   * The file in which the platform keeps the workload's token up to date: for example, a projected volume of
   * Kubernetes.
   */
  tokenFile: string;
}

/** Returns an access token for the resource. The same client returns the same token until it expires. */
export function agentOf({ issuer, resource, scope, tokenFile }: Identity) {
  const client = ExternalAccountClient.fromJSON({
    type: 'external_account',
    audience: resource,
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    token_url: `${issuer}/oauth2/token`,
    credential_source: { file: tokenFile },
  });
  if (client === null) throw new Error('the options are not those of an external account');
  client.scopes = [scope];
  return client;
}
