import { beforeAll, describe, expect, it } from 'vitest';
import {
  createAgent,
  createPolicy,
  createResource,
  grantRequest,
  startBroker,
  type TestAgent,
  type TestBroker,
} from '../support/broker.ts';

let broker: TestBroker;
let agent: TestAgent;
let resource: string;
let grants: string[];

beforeAll(async () => {
  broker = await startBroker();
  await createPolicy(broker, 'permit(principal, action, resource);');
  agent = await createAgent(broker);
  resource = (await createResource(broker)).identifier;
  const api = await agent.api();
  grants = [];
  for (const duration_seconds of [600, 900]) {
    const request = grantRequest(resource, { scopes: ['read', 'write'], duration_seconds });
    grants.push((await api.post('/v1/grants', request).expect(201)).body.id);
  }
});

/** Requests a token. Returns its scope and grant, or the error, as a short text. */
async function ask(form: Record<string, string>): Promise<string> {
  const { body } = await agent.token({ resource, ...form });
  return body.error ?? `${body.scope} of ${grants.indexOf(body.grant_id)}`;
}

describe('the memory of the last token', () => {
  it('serves only a request that is the same, in any order', async () => {
    const expected: [form: Record<string, string>, answer: string][] = [
      [{ scope: 'read' }, 'read of 1'],
      [{ scope: 'write' }, 'write of 1'],
      [{ scope: 'read write' }, 'read write of 1'],
      [{ scope: 'write read' }, 'write read of 1'],
      [{ scope: 'read', grant_id: grants[0] ?? '' }, 'read of 0'],
      [{ grant_id: grants[0] ?? '' }, 'read write of 0'],
      [{ grant_id: grants[1] ?? '' }, 'read write of 1'],
      [{}, 'invalid_scope'],
      [{ scope: 'read admin' }, 'invalid_scope'],
    ];
    for (const [before] of expected) {
      for (const [form, answer] of expected) {
        await ask(before);
        expect(await ask(form), JSON.stringify([before, form])).toBe(answer);
      }
    }
  });
});
