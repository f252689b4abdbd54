import { fail, median, print, printTarget, setting } from './figures.ts';
import { otherCore, startPostgres } from './postgres.ts';
import { load, perSecond, type Run, type Server, startServer } from './support.ts';

/**
 * Compares the gateway, with everything recorded, with a bare pipe of undici that checks and records nothing, and with direct calls. The
 * gateway and the pipe are alone on core 0; the upstream, PostgreSQL and wrk share core 1. They run in turn, so that noise affects all.
 */
const rounds = setting('ROUNDS', 5);
const options = {
  script: 'post.lua',
  seconds: setting('SECONDS', 5),
  connections: setting('CONNECTIONS', 64),
};

interface Measured extends Run {
  /** The share of its core that the server used. */
  busy: number;
}

function measure(server: Server): Measured {
  const before = server.cpuSeconds();
  const run = load(server.target, options);
  return { ...run, busy: (server.cpuSeconds() - before) / (run.us / 1e6) };
}

function describe(name: string, runs: Measured[]): string {
  const rate = median(runs.map(perSecond)).toFixed(0).padStart(6);
  const [p50, p99] = (['p50', 'p99'] as const).map((key) =>
    (median(runs.map((run) => run[key])) / 1000).toFixed(1),
  );
  const wrong = runs.reduce((sum, run) => sum + run.bad + run.errors, 0);
  if (wrong > 0) fail(`${wrong} requests to ${name} got a wrong response or none`);
  const cpu = median(runs.map((run) => (run.busy * run.us) / run.requests)).toFixed(0);
  const busy = (median(runs.map((run) => run.busy)) * 100).toFixed(0);
  return `${name.padEnd(10)} ${rate} /s   p50 ${p50} ms   p99 ${p99} ms   ${cpu} us of its core each, ${busy} % busy`;
}

async function main(): Promise<void> {
  const database = await startPostgres();
  const upstream = await startServer('upstream', {}, otherCore);
  const upstreamUrl = new URL(upstream.target.url).origin;
  const broker = await startServer('hallpass', { databaseUrl: database.applicationUrl, upstreamUrl });
  const gateway: Server = {
    ...broker,
    target: {
      url: broker.about.callUrl ?? '',
      authorization: broker.about.callAuthorization ?? '',
      form: 'a=1',
    },
  };
  const servers = { gateway, pipe: await startServer('pipe', { upstreamUrl }), direct: upstream };
  const names = Object.keys(servers) as (keyof typeof servers)[];
  try {
    for (const name of names) load(servers[name].target, options);
    const runs: Record<keyof typeof servers, Measured[]> = { gateway: [], pipe: [], direct: [] };
    for (let round = 0; round < rounds; round += 1)
      for (const name of names) runs[name].push(measure(servers[name]));
    for (const name of names) print(describe(name, runs[name]));
    const ratio = median(runs.gateway.map((run, n) => perSecond(run) / perSecond(runs.pipe[n] ?? run)));
    printTarget('calls a second, gateway / bare pipe', ratio, { atLeast: 0.6 });
  } finally {
    await Promise.all([broker.stop(), servers.pipe.stop(), upstream.stop()]);
    await database.stop();
  }
}

await main();
process.exit();
