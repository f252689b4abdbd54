import { ExternalAccountClient } from 'google-auth-library';

interface Identity {
  issuer: string;
  /** Identifier of the resource. */
  resource: string;
  scope: string;
  /** Where the platform keeps the workload's token up to date: a projected volume of Kubernetes, for one. */
  tokenFile: string;
}

/** An access token for the resource: of the same client, as long as it is good. */
export function agentOf({ issuer, resource, scope, tokenFile }: Identity) {
  const client = ExternalAccountClient.fromJSON({
    type: 'external_account',
    audience: resource,
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    token_url: `${issuer}/oauth2/token`,
    credential_source: { file: tokenFile },
  });
  if (client === null) throw new Error('these are no external account');
  client.scopes = [scope];
  return client;
}
