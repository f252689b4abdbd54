import { systemClock } from '../../../src/platform/clock.ts';
import { parseIssuer } from '../../../src/platform/issuer.ts';
import { startHttpServer } from '../../../src/start/http-server.ts';
import { createServerOf, grantTo, permitAll } from '../../oauth/fixtures.ts';
import { atEnd } from '../../support/at-end.ts';
import {
  createAgent,
  createPolicy,
  createResource,
  startBroker,
  type TestAgent,
} from '../../support/broker.ts';
import { createKeyAgent, type KeyAgent } from '../../support/key-agent.ts';

/** The configuration of an independent client. */
export interface Service {
  issuer: string;
  agent: TestAgent;
  /** A client that authenticates with a key. */
  keyAgent: KeyAgent;
  resource: { id: string; identifier: string };
  server: { id: string; secret: string };
  grantId: string;
}

/** Starts a broker on the system clock, whose issuer is its address, with an agent that may read and write. */
export async function startService(): Promise<Service> {
  const http = await startHttpServer({ host: '127.0.0.1', port: 0, clock: systemClock });
  atEnd(() => http.drain({ graceMs: 0, deadlineMs: 1000 }));
  const issuer = parseIssuer(`http://127.0.0.1:${http.port}`);
  if (issuer === undefined) throw new Error('a loopback address is not accepted as issuer');
  const broker = await startBroker({ clock: systemClock, config: { issuer } });
  http.serve(broker.app);
  await createPolicy(broker, permitAll);
  const agent = await createAgent({ url: issuer });
  const resource = await createResource({ url: issuer });
  const server = await createServerOf({ url: issuer }, resource);
  const grantId = await grantTo(agent, resource, { scopes: ['read', 'write'] });
  const keyAgent = await createKeyAgent({ url: issuer, issuer, now: () => systemClock.now() });
  await grantTo(keyAgent, resource, { scopes: ['read', 'write'] });
  return { issuer, agent, keyAgent, resource, server, grantId };
}
