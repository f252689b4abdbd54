import { beforeAll, describe, expect, it } from 'vitest';
import { type BrokerProcess, launch } from '../../e2e/support/broker-process.ts';
import { ensureBuilt } from '../../e2e/support/build.ts';
import { call, createStory, expecting, type Story } from '../../e2e/support/client.ts';
import { cli, createProduction, type Production } from '../../e2e/support/production.ts';
import { beginSlowRequest } from '../../e2e/support/slow-request.ts';
import { freePort } from '../../support/free-port.ts';

const otherMasterKey = Buffer.alloc(32, 9).toString('base64url');

let production: Production;
/** A broker that the tests share until one of them stops it. */
let running: Started;
beforeAll(async () => {
  await ensureBuilt();
  production = await createProduction();
});

interface Started {
  broker: BrokerProcess;
  port: number;
  url: string;
}

async function start(env: Record<string, string> = {}, command?: string[]): Promise<Started> {
  const port = await freePort();
  const broker = launch({ ...production.env, HALLPASS_PORT: String(port), ...env }, command);
  await broker.seen('Hallpass listens on');
  return { broker, port, url: `http://127.0.0.1:${port}` };
}

/** Returns how a failed start ends: its exit code and the one line that it prints in addition to the log. */
async function refusal(env: Record<string, string | undefined>): Promise<string> {
  const { code, stderr, stdout } = await launch({ HALLPASS_PORT: '0', ...env }).exited;
  expect(code).toBe(1);
  expect(stdout).toBe('');
  const lines = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{"level"'));
  expect(lines).toHaveLength(1);
  return lines[0] ?? '';
}

describe('set up as the README says', () => {
  it('the broker does not start on a database without migrations', async () => {
    expect(await refusal(production.env)).toMatch(/^hallpass: the database lacks .*: run npm run migrate$/);
  });

  it('the owner migrates, once', async () => {
    const env = { ...production.env, DATABASE_OWNER_URL: production.ownerUrl };
    expect(await cli(env, 'migrate')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('applied 0001'),
    });
    expect(await cli(env, 'migrate')).toMatchObject({ code: 0, stdout: 'up to date\n' });
    const without = await cli(production.env, 'migrate');
    expect(without.code).toBe(1);
    expect(without.stderr).toMatch(/^hallpass: DATABASE_OWNER_URL is missing\n$/);
  });

  it('the broker does not start as the owner', async () => {
    expect(await refusal({ ...production.env, DATABASE_URL: production.ownerUrl })).toMatch(
      /^hallpass: DATABASE_URL must not log in as the owner: .*audit_events/,
    );
  });

  it('the broker starts, prints no key, and its first admin has the bootstrap key, once', async () => {
    running = await start();
    expect(running.broker.stdout()).toBe('Hallpass listens on https://hallpass.test\n');
    await expecting(200, call(`${running.url}/readyz`));
    await expecting(200, call(`${running.url}/v1/admins`, { bearer: production.bootstrapKey }));
  });

  it('another bootstrap key, and the old master key in its own variable, change nothing', async () => {
    const bearer = `hpa_${'0123456789abcdef'.repeat(2)}`;
    const { broker, url } = await start({
      HALLPASS_BOOTSTRAP_ADMIN_KEY: bearer,
      HALLPASS_MASTER_KEY: otherMasterKey,
      HALLPASS_MASTER_KEYS_OLD: production.env.HALLPASS_MASTER_KEY ?? '',
    });
    await expecting(401, call(`${url}/v1/admins`, { bearer }));
    await expecting(200, call(`${url}/v1/admins`, { bearer: production.bootstrapKey }));
    broker.child.kill('SIGTERM');
    expect((await broker.exited).code).toBe(0);

    // All values are encrypted again by then: the old key decrypts nothing any more, and the new key can be replaced
    // by the old one.
    expect(await refusal(production.env)).toContain('HALLPASS_MASTER_KEY is not the key');
    const { broker: back } = await start({ HALLPASS_MASTER_KEYS_OLD: otherMasterKey });
    back.child.kill('SIGTERM');
    expect((await back.exited).code).toBe(0);
  });

  it('a person who lost the last key gets one for a day with hallpass admin recover', async () => {
    const { code, stdout } = await cli(production.env, 'admin', 'recover', 'bootstrap@localhost');
    expect(code).toBe(0);
    const [key = ''] = stdout.split('\n');
    await expecting(200, call(`${running.url}/v1/admins`, { bearer: key }));
    const unknown = await cli(production.env, 'admin', 'recover', 'nobody@example.com');
    expect(unknown).toMatchObject({ code: 1, stderr: 'hallpass: no person has this e-mail address\n' });
  });
});

describe('a start that fails', () => {
  const wrong: Record<string, [change: Record<string, string | undefined>, line: RegExp]> = {
    'a missing key': [{ HALLPASS_MASTER_KEY: undefined }, /^hallpass: HALLPASS_MASTER_KEY is missing/],
    'a weak key': [
      { HALLPASS_BOOTSTRAP_ADMIN_KEY: `hpa_${'a'.repeat(40)}` },
      /: HALLPASS_BOOTSTRAP_ADMIN_KEY must/,
    ],
    'another key': [{ HALLPASS_MASTER_KEY: otherMasterKey }, /: HALLPASS_MASTER_KEY is not the key/],
    'a wrong issuer': [{ HALLPASS_PUBLIC_URL: 'http://a.test' }, /: HALLPASS_PUBLIC_URL must be https/],
    'a setting that is none': [{ HALLPASS_NONE: '10' }, /: HALLPASS_NONE is not a known setting$/],
    'a file that is none': [{ DATABASE_OWNER_URL_FILE: '/none' }, /: DATABASE_OWNER_URL_FILE names a file/],
  };

  it('prints one line that names the variable, and exits with code 1', async () => {
    await Promise.all(
      Object.entries(wrong).map(async ([what, [change, line]]) => {
        const said = await refusal({ ...production.env, ...change });
        expect(said, what).toMatch(line);
        for (const secret of [production.bootstrapKey, production.databaseUrl])
          expect(said).not.toContain(secret);
      }),
    );
  });

  it('because the port is in use prints one line', async () => {
    expect(await refusal({ ...production.env, HALLPASS_PORT: String(running.port) })).toBe(
      `hallpass: listen EADDRINUSE: address already in use 127.0.0.1:${running.port}`,
    );
  });
});

describe.each([
  ['node dist/main.js', undefined],
  ['npm start', ['npm', 'start']],
])('SIGTERM to %s', (_name, command) => {
  let started: Started;
  let story: Story;
  beforeAll(async () => {
    started = command === undefined ? running : await start({}, command);
    story = await createStory(started.url, production.bootstrapKey);
  });

  it('drains: becomes not ready, answers long polls, finishes slow requests, and exits with code 0', async () => {
    const { broker, port, url } = started;
    const poll = call(`${url}/v1/grants/${story.pendingGrant}?wait=30`, { bearer: story.token });
    const person = { name: 'slow', email: `${port}-${Date.now()}@example.com`, roles: [] };
    const slow = await beginSlowRequest(port, {
      path: '/v1/admins',
      bearer: production.bootstrapKey,
      json: person,
    });
    // The broker has read both heads when it responds to the requests after them.
    await expecting(200, call(`${url}/readyz`));
    await expecting(200, call(`${url}/healthz`));

    broker.child.kill('SIGTERM');
    expect(await poll).toMatchObject({ status: 200, body: { status: 'pending' } });
    // A second signal has no effect.
    broker.child.kill('SIGTERM');
    await expect(call(`${url}/healthz`)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    const answers = await slow.finish('GET /readyz HTTP/1.1\r\nHost: hallpass\r\n\r\n');
    const [created = '', readiness = ''] = answers.split(/(?=HTTP\/1\.1 )/);
    expect(created).toMatch(/^HTTP\/1\.1 201 /);
    expect(readiness).toMatch(/^HTTP\/1\.1 503 /);
    expect(readiness).toContain('"process":"stopping"');
    expect(await broker.exited).toMatchObject({ code: 0, signal: null });
    expect(broker.stderr()).toContain('"outcome":"drained"');
    const kept = await production.query<{ name: string }>('select name from admins where email = $1', [
      person.email,
    ]);
    expect(kept).toEqual([{ name: 'slow' }]);
  });
});

it('requests that take longer than HALLPASS_SHUTDOWN_SECONDS are cut off, as the exit code shows', async () => {
  const { broker, port, url } = await start({ HALLPASS_SHUTDOWN_SECONDS: '1' });
  const person = { name: 'never', email: 'never@example.com', roles: [] };
  const request = { path: '/v1/admins', bearer: production.bootstrapKey, json: person };
  const slow = await beginSlowRequest(port, request);
  slow.socket.on('error', () => {});
  await expecting(200, call(`${url}/readyz`));
  broker.child.kill('SIGTERM');
  expect(await broker.exited).toMatchObject({ code: 1, signal: null });
  expect(await production.query('select 1 from admins where email = $1', [person.email])).toEqual([]);
});
