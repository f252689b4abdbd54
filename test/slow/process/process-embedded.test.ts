import { readdir } from 'node:fs/promises';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { type BrokerProcess, launch, temporaryDirectory } from '../../e2e/support/broker-process.ts';
import { ensureBuilt } from '../../e2e/support/build.ts';
import { call, createStory, expecting } from '../../e2e/support/client.ts';
import { cli } from '../../e2e/support/production.ts';
import { freePort } from '../../support/free-port.ts';

let dataDir: string;
let adminKey: string;
beforeAll(async () => {
  await ensureBuilt();
  dataDir = await temporaryDirectory();
});

async function start(env: Record<string, string> = {}): Promise<{ broker: BrokerProcess; url: string }> {
  const port = await freePort();
  const broker = launch({ HALLPASS_DATA_DIR: dataDir, HALLPASS_PORT: String(port), ...env });
  await broker.seen('Hallpass listens on');
  return { broker, url: `http://127.0.0.1:${port}` };
}

// These tests use the same data directory, one after another.
describe('a data directory', () => {
  it('is created at the first start, which shows a working admin key', async () => {
    const { broker, url } = await start();
    await broker.seen('\n    hpa_');
    [adminKey = ''] = /hpa_\w+/.exec(broker.stdout()) ?? [];
    await expecting(200, call(`${url}/v1/admins`, { bearer: adminKey }));
    expect(broker.stderr()).not.toContain(adminKey);
    const story = await createStory(url, adminKey);

    const second = await launch({ HALLPASS_DATA_DIR: dataDir, HALLPASS_PORT: '0' }).exited;
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(/^hallpass: another broker is using .*HALLPASS_DATA_DIR\n$/m);
    // The first broker is not affected.
    const form = { grant_type: 'client_credentials', resource: story.resource, scope: 'read' };
    await expecting(200, call(`${url}/oauth2/token`, { basic: story.client, form }));

    broker.child.kill('SIGKILL');
    await broker.exited;
    const again = await start();
    await expecting(200, call(`${again.url}/oauth2/token`, { basic: story.client, form }));
    await expecting(200, call(`${again.url}/v1/admins`, { bearer: adminKey }));
    expect(again.broker.stdout()).not.toContain('hpa_');
    again.broker.child.kill('SIGTERM');
    expect((await again.broker.exited).code).toBe(0);
  });

  it('serves a broker that listens on all addresses, without a gateway if that has no URL', async () => {
    const { broker, url } = await start({
      HALLPASS_HOST: '0.0.0.0',
      HALLPASS_PUBLIC_URL: 'https://hallpass.test',
      HALLPASS_GATEWAY_HOST: '0.0.0.0',
    });
    await expecting(200, call(`${url}/readyz`));
    broker.child.kill('SIGTERM');
    expect((await broker.exited).code).toBe(0);
  });

  it('is not opened with another master key', async () => {
    const HALLPASS_MASTER_KEY = Buffer.alloc(32, 9).toString('base64url');
    const { code, stderr } = await launch({
      HALLPASS_DATA_DIR: dataDir,
      HALLPASS_PORT: '0',
      HALLPASS_MASTER_KEY,
    }).exited;
    expect(code).toBe(1);
    expect(stderr).toMatch(/^hallpass: HALLPASS_MASTER_KEY is not the key/m);
  });

  it('allows its owner to get a new admin key while no broker runs', async () => {
    const { code, stdout } = await cli(
      { HALLPASS_DATA_DIR: dataDir },
      'admin',
      'recover',
      'bootstrap@localhost',
    );
    expect(code).toBe(0);
    const [key = ''] = stdout.split('\n');
    expect(key).toMatch(/^hpa_\w{43}$/);
    const { broker, url } = await start();
    const events = await expecting(200, call(`${url}/v1/audit-events?type=admin.recovered`, { bearer: key }));
    expect(events.body.items).toHaveLength(1);
    broker.child.kill('SIGTERM');
    expect((await broker.exited).code).toBe(0);
  });
});

describe('a start that is interrupted', () => {
  it('ends on SIGTERM as a running one does, and the next one continues from there', async () => {
    const HALLPASS_DATA_DIR = await temporaryDirectory();
    const env = { HALLPASS_DATA_DIR, HALLPASS_PORT: '0' };
    const interrupted = launch(env);
    await vi.waitFor(async () => expect(await readdir(HALLPASS_DATA_DIR)).not.toEqual([]), {
      interval: 10,
      timeout: 60_000,
    });
    interrupted.child.kill('SIGTERM');
    expect(await interrupted.exited).toMatchObject({ code: 0, stdout: '' });
    const next = launch(env);
    await next.seen('\n    hpa_');
    next.child.kill('SIGTERM');
    expect((await next.exited).code).toBe(0);
  });
});
