/** The little of oidc-provider (which ships no types) that the benchmarks use. */
declare module 'oidc-provider' {
  import type { RequestListener } from 'node:http';

  export default class Provider {
    constructor(issuer: string, configuration: object);
    callback(): RequestListener;
    Client: { find(id: string): Promise<object | undefined> };
    AccessToken: new (token: {
      client: object | undefined;
      scope: string;
      expiresIn: number;
    }) => { save(): Promise<string> };
  }
}
