import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createAgent } from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
import { bearer, type GatewayScene, handleAll, startGateway } from './scene.ts';

let scene: GatewayScene;
let token: string;
let grantId: string;
let slug: string;

beforeAll(async () => {
  scene = await startGateway();
  ({ token, grantId } = await scene.tokenFor(['read', 'write']));
  ({ slug } = scene.resource);
});
beforeEach(() => {
  scene.upstream.requests.length = 0;
  scene.upstream.respond = (_request, response) => {
    response
      .writeHead(200, { 'Content-Type': 'application/json', 'X-Request-Id': 'up-1' })
      .end('{"ok":true}');
  };
});

describe('the record of a call', () => {
  it('has its grant, its agent and its outcome, with the digests of both bodies', async () => {
    const body = '{"name":"x"}';
    const sent = await scene.send({
      method: 'POST',
      path: `/${slug}/items?secret=1`,
      headers: bearer(token),
      body,
    });
    const id = sent.headers['hallpass-call-id'];
    const digest = (text: string) => createHash('sha256').update(text).digest('hex');
    await eventually(async () => {
      const { body: page } = await scene.admin.get('/v1/calls').expect(200);
      expect(page.items.find((call: { id: string }) => call.id === id)).toMatchObject({
        agent_id: scene.agent.id,
        grant_id: grantId,
        resource_id: scene.resource.id,
        scope: 'write',
        method: 'POST',
        path: '/items',
        outcome: 'completed',
        upstream_status: 200,
        request_bytes: 12,
        request_sha256: digest(body),
        response_bytes: 11,
        response_sha256: digest('{"ok":true}'),
        act: null,
      });
    });
  });

  it('is there when the upstream gets the call', async () => {
    let found: unknown;
    scene.upstream.respond = (_request, response) => {
      void scene.broker.database.owner
        .query("select outcome from calls where path = '/items/recorded'")
        .then(({ rows }) => {
          found = rows;
          response.end();
        });
    };
    await scene.send({ path: `/${slug}/items/recorded`, headers: bearer(token) });
    expect(found).toEqual([{ outcome: null }]);
  });

  it('says that the agent disconnected, if it did so before the upstream was reached, which then gets nothing', async () => {
    const { owner } = scene.broker.database;
    const before = scene.upstream.requests.length;
    await owner.query('begin');
    await owner.query('lock table calls in share mode');
    const socket = connect(Number(new URL(scene.url).port), '127.0.0.1');
    const head = [
      `GET /${slug}/items/gone HTTP/1.1`,
      `Host: ${new URL(scene.url).host}`,
      `x-api-key: ${token}`,
    ];
    socket.write(`${head.join('\r\n')}\r\n\r\n`);
    await eventually(async () => {
      const { rows } = await owner.query(
        "select from pg_locks where not granted and relation = 'calls'::regclass",
      );
      expect(rows.length).toBeGreaterThan(0);
    });
    socket.destroy();
    await new Promise((resolve) => socket.once('close', resolve));
    await handleAll();
    await owner.query('commit');
    await eventually(async () => {
      const { rows } = await owner.query("select outcome from calls where path = '/items/gone'");
      expect(rows).toEqual([{ outcome: 'disconnected' }]);
    });
    expect(scene.upstream.requests).toHaveLength(before);
  });

  it('gets its outcome later if the database did not accept it at first', async () => {
    const { owner } = scene.broker.database;
    const { timers } = scene.clock;
    scene.upstream.respond = (_request, response) => {
      void owner.query('alter table calls rename to hidden').then(() => response.end());
    };
    expect((await scene.send({ path: `/${slug}/items/unwritten`, headers: bearer(token) })).status).toBe(200);
    // The pause before the next attempt.
    await eventually(async () => expect(scene.clock.timers).toBe(timers + 1));
    await owner.query('alter table hidden rename to calls');
    scene.clock.advance(1);
    await eventually(async () => {
      const { rows } = await owner.query("select outcome from calls where path = '/items/unwritten'");
      expect(rows).toEqual([{ outcome: 'completed' }]);
    });
  });

  it('is seen by its agent, by admins and auditors, and not by another agent', async () => {
    await scene.send({ path: `/${slug}/items/mine`, headers: bearer(token) });
    const pathsOf = async (api: { get: GatewayScene['admin']['get'] }) =>
      (await api.get('/v1/calls').expect(200)).body.items.map(({ path }: { path: string }) => path);
    expect(await pathsOf(await scene.agent.api())).toContain('/items/mine');
    const other = await (await createAgent(scene.broker)).api();
    expect(await pathsOf(other)).toEqual([]);
    expect((await other.get(`/v1/calls?agent_id=${scene.agent.id}`).expect(200)).body.items).toEqual([]);
    expect(
      (await scene.admin.get(`/v1/calls?grant_id=${grantId}&limit=1`).expect(200)).body.items,
    ).toHaveLength(1);
  });

  it('cannot be changed once the call has ended', async () => {
    const { database } = scene.broker;
    await expect(
      database.owner.query("update calls set outcome = 'failed' where outcome = 'completed'"),
    ).rejects.toThrow('is final');
  });
});
