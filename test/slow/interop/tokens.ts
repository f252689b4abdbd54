import { systemClock } from '../../../src/platform/clock.ts';
import { parseIssuer } from '../../../src/platform/issuer.ts';
import { startHttpServer } from '../../../src/start/http-server.ts';
import { createServerOf, permitAll } from '../../oauth/fixtures.ts';
import { atEnd } from '../../support/at-end.ts';
import {
  apiOf,
  createAgent,
  createPolicy,
  createResource,
  grantRequest,
  oauthPost,
  startBroker,
} from '../../support/broker.ts';
import { FakeClock } from '../../support/fake-clock.ts';

/**
 * Tokens for a resource server. `good` and `aged` are valid, and so is `narrow` for its scope. The server must refuse the
 * others, although all of them except `garbage` have a valid signature.
 */
export interface Tokens {
  good: string;
  /** Valid, and issued 200 seconds ago. */
  aged: string;
  /** For only one of the two scopes. */
  narrow: string;
  /** Expired a quarter of an hour ago. */
  expired: string;
  otherAudience: string;
  otherIssuer: string;
  garbage: string;
}

export interface TokenService {
  issuer: string;
  agentId: string;
  resource: { id: string; identifier: string };
  server: { id: string; secret: string };
  tokens: Tokens;
  /** Issues a token for both scopes, under a new grant of this many seconds. */
  mintFor(seconds: number): Promise<string>;
}

interface Setting {
  /** The identifier of the resource. */
  identifier: string;
  /** The token `good` is for both scopes, the token `narrow` only for the second. */
  scopes: { good: string; narrow: string };
}

/** A broker, as the place where tokens are issued. */
interface Place {
  url: string;
}

/** How far the clock of the first broker is behind: a token of 300 s that it issues has expired 15 minutes ago. */
const earlierMs = 1_200_000;

/**
 * Starts a broker on the system clock whose issuer is its address, and issues tokens. Replicas of this broker with an earlier
 * clock or another issuer issue the tokens that are old or invalid.
 */
export async function startTokens({ identifier, scopes }: Setting): Promise<TokenService> {
  const http = await startHttpServer({ host: '127.0.0.1', port: 0, clock: systemClock });
  atEnd(() => http.drain({ graceMs: 0, deadlineMs: 1000 }));
  const [issuer, otherIssuer] = [
    parseIssuer(`http://127.0.0.1:${http.port}`),
    parseIssuer('http://localhost:1'),
  ];
  if (issuer === undefined || otherIssuer === undefined)
    throw new Error('a loopback address is not accepted as issuer');
  // The first broker creates the signing keys, which its replicas share.
  const clock = new FakeClock(new Date(systemClock.now().getTime() - earlierMs).toISOString());
  const past = await startBroker({ clock, config: { issuer } });
  await createPolicy(past, permitAll);
  const { database } = past;
  const present = await startBroker({ clock: systemClock, database, config: { issuer } });
  http.serve(present.app);
  const other = await startBroker({ clock: systemClock, database, config: { issuer: otherIssuer } });
  const agent = await createAgent(past);
  const both = `${scopes.good} ${scopes.narrow}`;
  const catalogue = both.split(' ').map((name) => ({ name, description: name, risk: 'low' }));
  const resource = await createResource(past, { identifier, scopes: catalogue });
  const elsewhere = await createResource(past, { scopes: catalogue });
  const mint = (place: Place, scope: string, rest: Partial<Minting> = {}) =>
    mintUnderGrant(place, agent, { resource: resource.identifier, scope, ...rest });
  const expired = await mint(past, both);
  clock.advance(earlierMs / 1000 - 200);
  const tokens = {
    good: await mint(present, both),
    aged: await mint(past, both),
    narrow: await mint(present, scopes.narrow),
    expired,
    otherAudience: await mint(present, both, { resource: elsewhere.identifier }),
    otherIssuer: await mint(other, both),
    garbage: 'garbage',
  };
  const server = await createServerOf(present, resource);
  const mintFor = (seconds: number): Promise<string> => mint(present, both, { seconds });
  return { issuer, agentId: agent.id, resource, server, tokens, mintFor };
}

interface Minting {
  resource: string;
  scope: string;
  /** The duration of the grant in seconds. */
  seconds: number;
}

/** Requests a grant and returns a token under this grant. */
async function mintUnderGrant(
  place: Place,
  agent: { id: string; secret: string },
  { resource, scope, seconds = 600 }: Omit<Minting, 'seconds'> & Partial<Minting>,
): Promise<string> {
  const getToken = async (form: Record<string, string>): Promise<string> => {
    const issued = await oauthPost(
      place,
      '/oauth2/token',
      { grant_type: 'client_credentials', ...form },
      agent,
    );
    if (issued.status !== 200) throw new Error(`no token: ${issued.text}`);
    return issued.body.access_token;
  };
  const api = apiOf(place, await getToken({}));
  const terms = { scopes: scope.split(' '), duration_seconds: seconds };
  const granted = await api.post('/v1/grants', grantRequest(resource, terms)).expect(201);
  return getToken({ resource, scope, grant_id: granted.body.id });
}
