import { beforeAll, describe, expect, it } from 'vitest';
import { createLog } from '../../src/platform/log.ts';
import { type Api, asBootstrap, createAgent, startBroker, type TestBroker } from '../support/broker.ts';

/** Unexpected errors, caused here by a damaged table. */
let broker: TestBroker;
let admin: Api;
const lines: string[] = [];

beforeAll(async () => {
  broker = await startBroker({ log: createLog('info', { write: (line) => lines.push(line) }) });
  admin = asBootstrap(broker);
});

async function withoutTable(table: string, call: () => Promise<void>): Promise<void> {
  await broker.database.owner.query(`alter table ${table} rename to elsewhere`);
  try {
    await call();
  } finally {
    await broker.database.owner.query(`alter table elsewhere rename to ${table}`);
  }
}

function loggedAs(requestId: unknown) {
  return lines.map((line) => JSON.parse(line)).filter((line) => line.request_id === requestId);
}

describe('an unexpected error', () => {
  it('reveals only the request id to the caller, and everything to the log', async () => {
    await withoutTable('policies', async () => {
      const { body, headers, type } = await admin.get('/v1/policies').expect(500);
      expect(type).toBe('application/problem+json');
      expect(body).toEqual({
        type: 'urn:hallpass:error:internal',
        title: 'Something went wrong on our side',
        status: 500,
        code: 'internal',
        request_id: headers['x-request-id'],
      });
      const [failure, request] = loggedAs(body.request_id);
      expect(failure.err).toMatchObject({ code: '42P01', message: expect.stringContaining('policies') });
      expect(request).toMatchObject({
        msg: 'request',
        status: 500,
        code: 'internal',
        operation: 'listPolicies',
      });
    });
    await admin.get('/v1/policies').expect(200);
  });

  it('reveals nothing on /oauth2 either', async () => {
    const agent = await createAgent(broker);
    await withoutTable('agent_secrets', async () => {
      const { body, headers } = await agent.token().expect(500);
      expect(body).toEqual({
        error: 'server_error',
        error_description: 'Something went wrong on our side',
      });
      expect(headers['cache-control']).toBe('no-store');
      expect(loggedAs(headers['x-request-id'])[0].err).toMatchObject({ code: '42P01' });
    });
    await agent.token().expect(200);
  });
});
