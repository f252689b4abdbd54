import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { seedDemo } from '../../scripts/demo-seed.ts';
import { bootstrapKey, startBroker, type TestBroker } from '../support/broker.ts';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
});

const post = (path: string, basic: string, form: Record<string, string>): Promise<Response> =>
  fetch(`${broker.url}${path}`, {
    method: 'POST',
    headers: { Authorization: `Basic ${Buffer.from(basic).toString('base64')}` },
    body: new URLSearchParams(form),
  });

/** Runs `npm run demo` without the environment of the tests. */
const demo = (env: Record<string, string>) =>
  run(process.execPath, [join(root, 'node_modules/tsx/dist/cli.mjs'), 'scripts/demo.ts'], {
    cwd: root,
    env: { PATH: process.env.PATH, ...env } as object as NodeJS.ProcessEnv,
  }).catch((error: { code: number; stdout: string; stderr: string }) => error);

describe('npm run demo', () => {
  it('prints credentials that work, also when it runs a second time on the same broker', async () => {
    await seedDemo({ url: broker.url, adminKey: bootstrapKey });
    const { stdout } = await demo({ HALLPASS: broker.url, ADMIN_KEY: bootstrapKey });
    const { AGENT, SERVER, APPROVER_KEY } = Object.fromEntries(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.split('=')),
    );
    const token = await post('/oauth2/token', AGENT, { grant_type: 'client_credentials' });
    expect(token.status).toBe(200);
    const introspection = await post('/oauth2/introspect', SERVER, { token: 'none' });
    expect(await introspection.json()).toEqual({ active: false });
    const headers = { Authorization: `Bearer ${APPROVER_KEY}` };
    expect((await fetch(`${broker.url}/v1/grants`, { headers })).status).toBe(200);
  });

  it.each([
    { case: 'without a key', env: {}, message: /^npm run demo: set ADMIN_KEY .*\n$/ },
    {
      case: 'with a wrong key',
      env: { ADMIN_KEY: 'hpa_wrong' },
      message: /^npm run demo: .*\/v1\/admins answered 401: .*\n$/,
    },
  ])('exits with 1 and one line that says why $case', async ({ env, message }) => {
    const result = await demo({ HALLPASS: broker.url, ...env });
    expect(result).toMatchObject({ code: 1, stdout: '' });
    expect(result.stderr).toMatch(message);
  });
});
