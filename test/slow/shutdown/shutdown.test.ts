import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type BrokerProcess, launch } from '../../e2e/support/broker-process.ts';
import { ensureBuilt } from '../../e2e/support/build.ts';
import { cli, createProduction } from '../../e2e/support/production.ts';
import { atEnd } from '../../support/at-end.ts';
import { freePort } from '../../support/free-port.ts';
import { isLeftOut, startDaemon } from '../interop/software.ts';
import {
  type Client,
  startBehindNginx,
  startHttpAgent,
  startUndici,
  startWrk,
  wrkScript,
} from './clients.ts';

const nginx = '/usr/sbin/nginx';
const wrk = '/usr/bin/wrk';
const missing = isLeftOut('nginx or wrk', existsSync(nginx) && existsSync(wrk));

const directory = mkdtempSync(join(tmpdir(), 'hallpass-shutdown-'));
atEnd(async () => rmSync(directory, { recursive: true }));
const script = join(directory, 'post.lua');
const errorLog = join(directory, 'error.log');
/** The file that exists once wrk has a response. */
const connected = join(directory, 'connected');

let port: number;
let proxy: string;

beforeAll(async () => {
  if (missing) return;
  await ensureBuilt();
  port = await freePort();
  writeFileSync(script, wrkScript(connected));
  proxy = await startNginx();
});

async function startNginx(): Promise<string> {
  const proxyPort = await freePort();
  const file = join(directory, 'nginx.conf');
  const server = `server {
    listen 127.0.0.1:${proxyPort};
    client_max_body_size 1m;
    location / { proxy_pass http://broker; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_next_upstream off; }
  }`;
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const places = paths.map((name) => `${name}_temp_path ${directory}/${name};`).join(' ');
  writeFileSync(
    file,
    `daemon off; worker_processes 1; pid ${directory}/pid; events {}
     http { access_log off; ${places} upstream broker { server 127.0.0.1:${port} max_fails=0; keepalive 8; } ${server} }`,
  );
  const url = `http://127.0.0.1:${proxyPort}`;
  await startDaemon({ command: nginx, args: ['-e', errorLog, '-c', file], check: () => fetch(url) });
  return url;
}

/** Starts every kind of client, stops the server once each has responses, and returns the failures. */
async function stopUnderLoad(server: BrokerProcess): Promise<string[]> {
  const origin = `http://127.0.0.1:${port}`;
  rmSync(connected, { force: true });
  const wrkClient = startWrk(origin, script, connected);
  const clients: Record<string, Client> = {
    undici: startUndici(origin),
    agent: startHttpAgent(origin),
    nginx: startBehindNginx(proxy),
    wrk: wrkClient,
  };
  const areBusy = () => Object.values(clients).every(({ isBusy }) => isBusy());
  while (!areBusy()) await new Promise((resolve) => setTimeout(resolve, 5));
  server.child.kill('SIGTERM');
  const { code } = await server.exited;
  wrkClient.interrupt();
  await Promise.all(Object.values(clients).map(({ ended }) => ended));
  const failures = Object.entries(clients).flatMap(([name, client]) =>
    client.failures.map((failure) => `${name}: ${failure}`),
  );
  return code === 0 ? failures : [...failures, `exit code ${code}`];
}

/** Returns the lines of nginx's log about connections that the server reset or closed without an answer. */
function nginxResets(): string[] {
  return readFileSync(errorLog, 'utf8')
    .split('\n')
    .filter((line) => /reset by peer|prematurely closed|broken pipe/i.test(line));
}

async function startServer(way: 'gracefully' | 'abruptly'): Promise<BrokerProcess> {
  const command = ['node', '--import', 'tsx', 'test/slow/shutdown/server.child.ts', String(port), way];
  const server = launch({}, command);
  await server.seen('Hallpass listens on');
  return server;
}

describe.skipIf(missing)(
  'a shutdown under load resets no connection on which it has not sent Connection: close',
  () => {
    it('when the HTTP server is stopped 25 times', async () => {
      for (let i = 0; i < 25; i += 1)
        expect(await stopUnderLoad(await startServer('gracefully')), `stop ${i}`).toEqual([]);
      expect(nginxResets()).toEqual([]);
    });

    it('when the whole broker is stopped 5 times', async () => {
      const production = await createProduction();
      await cli({ ...production.env, DATABASE_OWNER_URL: production.ownerUrl }, 'migrate');
      for (let i = 0; i < 5; i += 1) {
        const broker = launch({ ...production.env, HALLPASS_PORT: String(port), HALLPASS_RATE_LIMIT: 'off' });
        await broker.seen('Hallpass listens on');
        expect(await stopUnderLoad(broker), `stop ${i}`).toEqual([]);
      }
      expect(nginxResets()).toEqual([]);
    });

    it('and each kind of client reports the resets of a server that closes its connections at once', async () => {
      const failures: string[] = [];
      const reports = [
        () => failures.some((failure) => failure.startsWith('undici')),
        () => failures.some((failure) => failure.startsWith('agent')),
        () => failures.some((failure) => failure.startsWith('wrk')),
        () => nginxResets().length > 0,
      ];
      const wereSeen = () => reports.map((isReported) => isReported());
      for (let i = 0; i < 20 && wereSeen().includes(false); i += 1)
        failures.push(...(await stopUnderLoad(await startServer('abruptly'))));
      expect(wereSeen()).toEqual([true, true, true, true]);
    });
  },
);
