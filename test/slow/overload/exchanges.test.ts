import { beforeAll, describe, expect, it } from 'vitest';
import { createExchangeScene, type ExchangeScene } from '../../oauth/token-exchange/exchange-scene.ts';
import { asBootstrap } from '../../support/broker.ts';
import { parallel } from '../../support/count.ts';
import { eventually } from '../../support/eventually.ts';

let scene: ExchangeScene;
beforeAll(async () => {
  scene = await createExchangeScene();
});

const admin = () => asBootstrap(scene.broker);

describe('a delegated grant', () => {
  it.each([
    1, 12,
  ])('cannot be asked for so fast by %i agents that nobody above can be ended', async (count) => {
    const agent = await scene.agent();
    const helpers = await parallel(count, () => scene.agent());
    const { token } = await scene.holding(agent);
    let isOver = false;
    let exchanged = 0;
    const callers = 24;
    const flood = Array.from({ length: callers }, async (_, n) => {
      while (!isOver) {
        const on = n % 2 === 0 ? scene.broker : scene.replica;
        const { status } = await scene.exchange(helpers[n % count], token, {}, on);
        if (status !== 200) break;
        exchanged += 1;
      }
    });
    await eventually(async () => {
      const { rows } = await scene.broker.database.owner.query(
        'select count(*)::integer as n from tokens where agent_id = any($1)',
        [helpers.map(({ id }) => id)],
      );
      expect(rows[0]?.n).toBeGreaterThan(20);
    });
    const before = exchanged;
    await admin().patch(`/v1/resources/${scene.resource.id}`, { name: 'renamed' }).expect(200);
    await admin().post(`/v1/agents/${agent.id}/disable`, { reason: 'x' }).expect(200);
    const meanwhile = exchanged - before;
    isOver = true;
    await Promise.all(flood);
    // Only the requests in progress when either change began, and a few more.
    expect(meanwhile).toBeLessThan(4 * callers);
  });
});
