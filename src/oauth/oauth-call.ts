import type { Origin } from '../caller.ts';
import type { ClientCredentials } from './clients/client-credentials.ts';
import type { DpopRequest } from './dpop/dpop.ts';

/** A request of somebody who has yet to prove who they are. */
export interface OauthCall {
  credentials: ClientCredentials;
  dpop: DpopRequest;
  origin: Origin;
  /** Told who it is once that is proved, whatever becomes of the request. */
  identified: (clientId: string) => void;
}
