import type { Detail } from '../authorization-details/details-type.ts';
import type { Actor, SubjectId } from '../grants/delegation.ts';
import type { Activity, ActivityQuery } from './store/read-activity.ts';
import { rowKeyOf, type TokenKey, type VerifiedTokens } from './verified-tokens.ts';

/** Verifies tokens of this server, and reads whether they are active. */
export interface TokenReaders {
  tokens: VerifiedTokens;
  readActivity: (query: ActivityQuery) => Promise<Activity>;
}

/** The claims of a token that this server signed. */
export interface IssuedClaims {
  sub: string;
  sub_id?: SubjectId;
  act?: Actor;
  may_act?: unknown;
  cnf?: { jkt: string };
  aud: string;
  scope: string;
  grant_id?: string;
  authorization_details?: Detail[];
  jti: string;
  exp: number;
}

/** An active token of this server. */
export interface ActiveToken {
  claims: IssuedClaims;
  /** The agent that the token was issued to. */
  agentId: string;
  /** The resource of its grant; null for a broker token. */
  resourceId: string | null;
  /** The key of its row. */
  key: TokenKey;
  /**
   * The ids of the tokens that it was issued in exchange for. Unlike `Activity.subjects`, includes the token itself,
   * last.
   */
  subjects: string[];
}

/** The client members of an `ActivityQuery` that checks no client. */
export const noClient = { client_kind: null, client_id: null, client_epoch: null, secret_id: null } as const;

/** Finds an active token of this server by its text; undefined if the text is not one. */
export async function findActiveToken(
  { tokens, readActivity }: TokenReaders,
  text: string,
): Promise<ActiveToken | undefined> {
  const token = await tokens.verify(text);
  if (token === undefined) return undefined;
  const key = rowKeyOf(token);
  const { agentId, resourceId, subjects } = await readActivity({ ...key, ...noClient });
  const claims = token.claims as unknown as IssuedClaims;
  if (agentId === null) return undefined;
  return { claims, agentId, resourceId, key, subjects: [...(subjects ?? []), claims.jti] };
}
