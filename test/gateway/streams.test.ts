import { request as httpRequest, type IncomingMessage } from 'node:http';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { oauthPost } from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
import { bearer, type GatewayScene, handleAll, outcomesOf, type SentCall, startGateway } from './scene.ts';

let scene: GatewayScene;
let token: string;
let grantId: string;
let slug: string;

beforeAll(async () => {
  scene = await startGateway();
  ({ slug } = scene.resource);
});
beforeEach(async () => {
  ({ token, grantId } = await scene.tokenFor(['read', 'write']));
});

type Respond = GatewayScene['upstream']['respond'];
const respondWith = (respond: Respond): void => {
  scene.upstream.respond = respond;
};
const get = (change: Partial<SentCall> = {}) =>
  scene.send({ path: `/${slug}/items/7`, headers: bearer(token), ...change });

const outcome = async (): Promise<string | undefined> => (await outcomesOf(scene, grantId))[0];

/** Opens a call whose response streams, and returns the response when its headers have arrived. */
function open(on = scene): Promise<{ response: IncomingMessage; closed: Promise<'ended' | 'aborted'> }> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(on.url);
    const options = { hostname, port, method: 'POST', path: `/${slug}/stream/x`, headers: bearer(token) };
    const request = httpRequest({ ...options, agent: false }, (response) => {
      const closed = new Promise<'ended' | 'aborted'>((close) => {
        response.on('end', () => close('ended'));
        response.on('error', () => close('aborted'));
        response.on('aborted', () => close('aborted'));
      });
      resolve({ response, closed });
    });
    request.on('error', reject);
    request.end();
  });
}

describe('a response that streams', () => {
  it('arrives as the upstream sends it', async () => {
    let end = (): void => {};
    respondWith((_, response) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write('data: 1\n\n');
      end = () => response.end('data: [DONE]\n\n');
    });
    const { response, closed } = await open();
    const first = await new Promise((resolve) => response.once('data', (chunk) => resolve(String(chunk))));
    expect(first).toBe('data: 1\n\n');
    end();
    response.resume();
    expect(await closed).toBe('ended');
    expect(await outcome()).toBe('completed');
  });

  it.each<[string, () => PromiseLike<unknown>]>([
    [
      'its grant is revoked',
      () => scene.admin.post(`/v1/grants/${grantId}/revoke`, { reason: 'x' }).expect(200),
    ],
    [
      'its token is revoked',
      () => oauthPost(scene.broker, '/oauth2/revoke', { token }, scene.agent).expect(200),
    ],
    [
      'its resource is deleted',
      () => scene.broker.database.owner.query('update resources set epoch = epoch + 1'),
    ],
    [
      'its signing key is compromised',
      () => scene.admin.post('/v1/keys/rotate', { compromised: true, reason: 'leaked' }).expect(200),
    ],
  ])('is cut within a quarter of a second when %s, without an end that looks complete', async (_, end) => {
    respondWith((_request, response) => void response.writeHead(200).write('data: 1\n\n'));
    const { response, closed } = await open();
    response.resume();
    await end();
    scene.clock.advance(0.25);
    expect(await closed).toBe('aborted');
    expect(await outcome()).toBe('grant-ended');
  });

  it('is cut when its grant expires', async () => {
    const api = await scene.agent.api();
    const asked = {
      resource: scene.resource.identifier,
      scopes: ['write'],
      duration_seconds: 60,
      reason: 'test',
    };
    grantId = (await api.post('/v1/grants', asked).expect(201)).body.id;
    const form = { resource: asked.resource, grant_id: grantId };
    token = (await scene.agent.token(form).expect(200)).body.access_token;
    scene.clock.advance(57);
    respondWith((_request, response) => void response.writeHead(200).write('data: 1\n\n'));
    const { response, closed } = await open();
    response.resume();
    const { timers } = scene.clock;
    scene.clock.advance(3);
    await eventually(async () => expect(scene.clock.timers).toBe(timers));
    scene.clock.advance(0.25);
    expect(await closed).toBe('aborted');
    expect(await outcome()).toBe('grant-ended');
  });

  it('goes on when its token expires', async () => {
    scene.clock.advance(298);
    let end = (): void => {};
    respondWith((_, response) => {
      response.writeHead(200).write('data: 1\n\n');
      end = () => response.end('data: 2\n\n');
    });
    const { response, closed } = await open();
    const chunks: string[] = [];
    response.on('data', (chunk) => chunks.push(String(chunk)));
    // The token expires; the next read of the state comes before 5 s have passed.
    scene.clock.advance(4);
    expect((await get()).status).toBe(401);
    end();
    expect(await closed).toBe('ended');
    expect(chunks.join('')).toBe('data: 1\n\ndata: 2\n\n');
  });

  it('ends at the upstream when the agent goes away', async () => {
    const ended = new Promise<void>((resolve) => {
      respondWith((_, response) => {
        response.writeHead(200).write('data: 1\n\n');
        response.on('close', resolve);
      });
    });
    const { response } = await open();
    response.destroy();
    await ended;
    expect(await outcome()).toBe('disconnected');
  });

  it('waits for an agent that reads slowly', async () => {
    let sent = 0;
    respondWith((_, response) => {
      response.writeHead(200);
      const more = (): void => {
        while (sent < 64 * 1024 * 1024) {
          sent += 65_536;
          if (!response.write(Buffer.alloc(65_536))) {
            response.once('drain', more);
            return;
          }
        }
        response.end();
      };
      more();
    });
    const { response, closed } = await open();
    response.pause();
    // Everything runs in this process: without backpressure, each turn of its event loop would move more.
    for (let before = -1; before !== sent; ) {
      before = sent;
      await handleAll();
    }
    expect(sent).toBeLessThan(16 * 1024 * 1024);
    response.resume();
    expect(await closed).toBe('ended');
    expect(sent).toBe(64 * 1024 * 1024);
  });
});
