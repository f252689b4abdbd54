import pg from 'pg';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { asBootstrap, createPolicy } from '../../support/broker.ts';
import { createExchangeScene, type ExchangeScene } from './exchange-scene.ts';

let scene: ExchangeScene;
beforeAll(async () => {
  scene = await createExchangeScene();
});

const { prototype } = pg.Client;
const { query } = prototype;
afterEach(() => {
  prototype.query = query;
});

/** Records the text of every statement that this process sends from now on. */
function noteStatements(): string[] {
  const texts: string[] = [];
  prototype.query = function note(this: pg.Client, ...sent: unknown[]) {
    const [statement] = sent as [string | { text: string }];
    texts.push(typeof statement === 'string' ? statement : statement.text);
    return Reflect.apply(query, this, sent);
  } as typeof query;
  return texts;
}

/** Creates a token of one agent, and another agent that has exchanged it. */
async function createRepeater(options: { labels?: string[] } = {}) {
  const [holder, helper] = [await scene.agent(), await scene.agent(options)];
  const { token } = await scene.holding(holder);
  const { body: first } = await scene.exchange(helper, token).expect(200);
  return { holder, helper, token, first, repeat: () => scene.exchange(helper, token) };
}

describe('a repeated exchange', () => {
  it('issues another token under the same grant, with a single statement, which writes the token', async () => {
    const { first, repeat } = await createRepeater();
    const texts = noteStatements();
    const { body } = await repeat().expect(200);
    expect(texts).toHaveLength(1);
    expect(texts[0]).toContain('insert into tokens');
    expect(body.grant_id).toBe(first.grant_id);
    expect(body.access_token).not.toBe(first.access_token);
    expect(scene.claims(body.access_token)).toMatchObject({ act: scene.claims(first.access_token).act });
  });

  it('has the may_act of this request, not of an earlier one', async () => {
    const { helper, token } = await createRepeater();
    const next = await scene.agent();
    const { body } = await scene.exchange(helper, token, { may_act: next.id }).expect(200);
    expect(scene.claims(body.access_token).may_act).toEqual({ sub: next.id });
    const { body: without } = await scene.exchange(helper, token).expect(200);
    expect(scene.claims(without.access_token)).not.toHaveProperty('may_act');
  });

  it('issues no token if the client now requires bound tokens', async () => {
    const { helper, repeat } = await createRepeater();
    const change = { require_bound_tokens: true };
    await asBootstrap(scene.broker).patch(`/v1/agents/${helper.id}`, change).expect(200);
    await scene.expectRefused(repeat(), 'invalid_dpop_proof');
  });

  it('issues a token that expires with the agent of its ancestor, even if that expiry was changed meanwhile', async () => {
    const { holder, repeat } = await createRepeater();
    const expires_at = new Date(scene.clock.now().getTime() + 2_000).toISOString();
    await asBootstrap(scene.broker).patch(`/v1/agents/${holder.id}`, { expires_at }).expect(200);
    expect((await repeat().expect(200)).body.expires_in).toBe(2);
    scene.clock.advance(3);
    await scene.expectRefused(repeat(), 'invalid_request');
  });

  it('issues no token that policy no longer permits', async () => {
    const { repeat } = await createRepeater({ labels: ['distrusted'] });
    await createPolicy(
      scene.broker,
      'forbid(principal, action == Action::"request", resource) when { principal.labels.contains("distrusted") };',
    );
    await scene.expectRefused(repeat(), 'invalid_request', 'Policy does not permit this delegation');
  });
});
