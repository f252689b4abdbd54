/** Makes at least as many decisions as the first argument says, within a busy HTTP handler, then prints the results. */
import { Agent, createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  engineWith,
  lowRiskAtOnce,
  onePersonAgrees,
  productionDatabases,
  requestOf,
} from '../../policies/fixtures.ts';

const goal = Number(process.argv[2]);
const engine = engineWith(lowRiskAtOnce, onePersonAgrees, productionDatabases);
let decisions = 0;
let wrong = 0;

const server = createServer((req, res) => {
  for (let i = 0; i < 8; i += 1) {
    decisions += 1;
    const duration = i % 2 === 0 ? 600 : 6000;
    const { decision } = engine.decide(requestOf({ context: { duration_seconds: duration, hour: i } }));
    if (decision !== (duration === 600 ? 'permit' : 'deny')) wrong += 1;
  }
  res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ url: req.url, decisions }));
});

await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address() as AddressInfo;
const agent = new Agent({ keepAlive: true });
const fetchOnce = () =>
  new Promise<void>((resolve, reject) => {
    get({ port, agent, path: '/', host: '127.0.0.1' }, (res) => res.resume().once('end', resolve)).once(
      'error',
      reject,
    );
  });
const client = async () => {
  while (decisions < goal) await fetchOnce();
};
await Promise.all(Array.from({ length: 16 }, client));
agent.destroy();
server.close();
process.stdout.write(JSON.stringify({ decisions, wrong }));
