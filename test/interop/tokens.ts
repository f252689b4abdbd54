import { parseIssuer } from '../../src/oauth/issuer.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { startHttpServer } from '../../src/start/http-server.ts';
import { createServerOf, permitAll } from '../oauth/fixtures.ts';
import { atEnd } from '../support/at-end.ts';
import {
  apiOf,
  createAgent,
  createPolicy,
  createResource,
  grantRequest,
  oauthPost,
  startBroker,
} from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** A token that a resource server is to take, and those that it is not; all but `garbage` have a good signature. */
export interface Tokens {
  good: string;
  /** As good, but issued 200 seconds ago. */
  aged: string;
  /** For one of the two scopes. */
  narrow: string;
  /** Since a quarter of an hour. */
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
  /** A token for both scopes, under a grant of so many seconds. */
  mintFor(seconds: number): Promise<string>;
}

interface Terms {
  /** Of the resource. */
  identifier: string;
  /** The good token is for both, the narrow one for the latter alone. */
  scopes: { good: string; narrow: string };
}

interface Place {
  url: string;
}

const earlierMs = 1_200_000;

/** A broker by the machine's clock whose issuer is where it listens, and tokens of it and of its replicas that are not right. */
export async function startTokens({ identifier, scopes }: Terms): Promise<TokenService> {
  const http = await startHttpServer({ host: '127.0.0.1', port: 0, clock: systemClock });
  atEnd(() => http.drain(1000));
  const [issuer, otherIssuer] = [
    parseIssuer(`http://127.0.0.1:${http.port}`),
    parseIssuer('http://localhost:1'),
  ];
  if (issuer === undefined || otherIssuer === undefined) throw new Error('loopback is no issuer');
  // The first one makes the signing keys; the others share them.
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
  /** How long the grant lasts. */
  seconds: number;
}

/** A token under a grant that is asked for now. */
async function mintUnderGrant(
  place: Place,
  agent: { id: string; secret: string },
  { resource, scope, seconds = 600 }: Omit<Minting, 'seconds'> & Partial<Minting>,
): Promise<string> {
  const ask = async (form: Record<string, string>): Promise<string> => {
    const issued = await oauthPost(
      place,
      '/oauth2/token',
      { grant_type: 'client_credentials', ...form },
      agent,
    );
    if (issued.status !== 200) throw new Error(`no token: ${issued.text}`);
    return issued.body.access_token;
  };
  const api = apiOf(place, await ask({}));
  const terms = { scopes: scope.split(' '), duration_seconds: seconds };
  const granted = await api.post('/v1/grants', grantRequest(resource, terms)).expect(201);
  return ask({ resource, scope, grant_id: granted.body.id });
}
