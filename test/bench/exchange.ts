import { fail, ms, print, printTarget, rate, setting } from './figures.ts';
import { probe } from './open-loop.ts';
import { startPostgres } from './postgres.ts';
import { makeClient, makeProbes, sayProbe } from './probes.ts';
import {
  fetchTokens,
  load,
  loadMeanwhile,
  perSecond,
  type Run,
  type Server,
  startServer,
} from './support.ts';

/**
 * Measures an agent that exchanges another agent's tokens: each exchange creates a grant the first time, and finds it
 * afterwards. Then does the same with many times more connections than are served, while other clients introspect and
 * revoke tokens. All exchanges of one agent are processed one after another.
 */
const seconds = setting('SECONDS', 10);
const connections = setting('CONNECTIONS', 8);
const manyConnections = setting('SHED_CONNECTIONS', 1000);
/** The maximum number of delegated grants of one agent for one resource. */
const tokens = setting('TOKENS', 900);
const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
const accessToken = 'urn:ietf:params:oauth:token-type:access_token';

/** A time so short that no token is exchanged twice. */
const makingSeconds = setting('MAKING_SECONDS', 2);
const script = 'forms.lua';

function describe(name: string, run: Run): string {
  const { requests, us, bad, shed = 0, errors } = run;
  if (errors > 0) fail(`${errors} requests were not answered`);
  if (bad > shed) fail(`${bad - shed} answers were neither a token nor 503 with Retry-After`);
  const speed = rate(perSecond({ requests: requests - bad, us }));
  return `${name.padEnd(28)} ${speed}   p50 ${ms(run.p50 / 1000)}   p99 ${ms(run.p99 / 1000)}   503 ${shed}`;
}

async function measure(broker: Server): Promise<void> {
  const held = await fetchTokens(broker.target, tokens);
  const kinds = await makeProbes(broker);
  const client = await makeClient(broker, 'helper');
  const ofToken = (token: string): string =>
    new URLSearchParams({
      grant_type: exchange,
      subject_token: token,
      subject_token_type: accessToken,
    }).toString();
  const target = { ...client, forms: held.map(ofToken) };
  const few = { script, connections };
  const making = load(target, { ...few, seconds: makingSeconds });
  // Each token in turn: with more tokens than exchanges, each exchange creates a grant.
  if (making.requests > tokens) fail('there are too few tokens for this machine');
  const known = { ...target, forms: target.forms.slice(0, making.requests) };
  const repeated = load(known, { ...few, seconds });
  for (const { bad } of [making, repeated]) if (bad > 0) fail(`${bad} exchanges gave no token`);
  print(describe('exchanges that make a grant', making));
  print(describe('the same exchanges again', repeated));
  printTarget('repeated exchanges a second', perSecond(repeated), { atLeast: 500 });
  let loading: Promise<Run> | undefined;
  const onBegin = (): void => {
    loading = loadMeanwhile(known, { script, seconds, connections: manyConnections });
  };
  const probed = await probe({ seconds: seconds - 1, kinds, onBegin });
  const run = await loading;
  if (run === undefined) throw new Error('the probe never began');
  print(describe(`${manyConnections} clients at once`, run));
  const exchangesPerSecond = perSecond({ requests: run.requests - run.bad, us: run.us });
  printTarget('exchanges for many clients / for few', exchangesPerSecond / perSecond(repeated), {
    atLeast: 0.5,
  });
  if (run.shed === 0) fail('nothing was refused: the excess waits instead');
  for (const each of probed) sayProbe(each);
}

const database = await startPostgres();
// Off, because one agent sends everything here, and its rate limit would refuse requests before the queue does.
const broker = await startServer('hallpass', {
  databaseUrl: database.applicationUrl,
  rateLimitPerSecond: 'off',
});
try {
  await measure(broker);
  if (!broker.isRunning()) fail('the broker is gone');
} finally {
  await broker.stop();
  await database.stop();
}
