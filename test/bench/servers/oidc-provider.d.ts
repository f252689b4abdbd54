/** The part of oidc-provider (which has no types) that benchmarks and tests use. */
declare module 'oidc-provider' {
  import type { RequestListener } from 'node:http';

  export default class Provider {
    constructor(issuer: string, configuration: object);
    callback(): RequestListener;
    Grant: new (of: {
      clientId: string;
      accountId: string;
    }) => { addOIDCScope(scope: string): void; save(): Promise<string> };
    BackchannelAuthenticationRequest: { find(id: string): Promise<object | undefined> };
    backchannelResult(request: object | undefined, grantId: string): Promise<void>;
    Client: { find(id: string): Promise<object | undefined> };
    AccessToken: new (token: {
      client: object | undefined;
      scope: string;
      expiresIn: number;
    }) => { save(): Promise<string> };
  }
}
