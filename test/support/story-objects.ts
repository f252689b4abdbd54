/** The resource of the stories that generated clients perform. */
export const storyResource = {
  identifier: 'https://inference.example',
  name: 'Inference',
  kind: 'api' as const,
  max_grant_seconds: 3600,
  scopes: [
    { name: 'read', description: 'Read', risk: 'low' as const },
    { name: 'admin', description: 'Administer', risk: 'high' as const },
  ],
};

/** Returns the agent of the stories that generated clients perform. */
export function storyAgent(owner: string) {
  return {
    name: 'generated',
    owner,
    environment: 'staging' as const,
    token_endpoint_auth_method: 'client_secret_post' as const,
  };
}
