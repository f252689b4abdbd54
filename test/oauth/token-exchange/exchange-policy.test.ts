import { beforeAll, describe, expect, it } from 'vitest';
import {
  asBootstrap,
  createAgent,
  createPerson,
  createPolicy,
  grantRequest,
  type TestAgent,
  type TestPerson,
} from '../../support/broker.ts';
import { createHolder } from '../../support/dpop.ts';
import { eventsOf, tokenOf } from '../fixtures.ts';
import { createExchangeScene, type ExchangeScene, exchangeGrant, tokenType } from './exchange-scene.ts';

/**
 * Which agent may delegate which rights to which other agent: policy, approvals, `may_act`, and tokens that are bound
 * to a key.
 */
let scene: ExchangeScene;
beforeAll(async () => {
  scene = await createExchangeScene();
});

/** Issues a token under a grant of `agent` that these people have approved. */
async function approvedHolding(on: ExchangeScene, agent: TestAgent, approvers: TestPerson[]) {
  const api = await agent.api();
  const { body: pending } = await api
    .post('/v1/grants', grantRequest(on.resource.identifier, { scopes: ['read'] }))
    .expect(202);
  for (const approver of approvers) {
    await approver.api
      .post(`/v1/grants/${pending.id}/approve`, { request_digest: pending.request_digest })
      .expect(200);
  }
  return tokenOf(agent, { resource: on.resource.identifier, grant_id: pending.id });
}

describe('policy decides again', () => {
  it('with the agent that receives the grant as principal, and with context.delegated', async () => {
    const on = await createExchangeScene(
      `permit(principal, action == Action::"request", resource)
         when { !context.delegated || principal.labels.contains("helper") };`,
    );
    const [parent, helper, other] = [
      await on.agent(),
      await on.agent({ labels: ['helper'] }),
      await on.agent({ labels: ['other'] }),
    ];
    const { token } = await on.holding(parent);
    await on.exchange(helper, token).expect(200);
    await on.expectRefused(on.exchange(other, token), 'invalid_request');
    const denied = await eventsOf(on.broker.database, 'grant.denied_by_policy');
    expect(denied.at(-1)).toMatchObject({
      actor_id: other.id,
      outcome: 'denied',
      details: { code: 'policy-denied', delegation: { sub: parent.id, act: { sub: other.id } } },
    });
    expect(
      (await eventsOf(on.broker.database, 'token.refused')).map(({ actor_id }) => actor_id),
    ).not.toContain(other.id);
  });

  it('at each use: a stricter policy applies to a delegated grant', async () => {
    const on = await createExchangeScene();
    const [parent, child] = [await on.agent(), await on.agent()];
    const { token } = await on.holding(parent);
    const { body } = await on.exchange(child, token).expect(200);
    const pinned = { resource: on.resource.identifier, grant_id: body.grant_id };
    await child.token(pinned).expect(200);
    await createPolicy(
      on.broker,
      'forbid(principal, action == Action::"request", resource) when { context.delegated };',
    );
    await on.expectRefused(child.token(pinned), 'invalid_grant');
    await parent.token({ resource: on.resource.identifier }).expect(200);
  });

  it('and counts an approval of the first grant only if its approver controls neither agent', async () => {
    const on = await createExchangeScene(
      'forbid(principal, action == Action::"request", resource) unless { context.approvals >= 2 };',
    );
    const approvers = [
      await createPerson(on.broker, { roles: ['approver'] }),
      await createPerson(on.broker, { roles: ['approver'] }),
    ];
    const parent = await on.agent();
    const token = await approvedHolding(on, parent, approvers);
    const stranger = await on.agent();
    await on.exchange(stranger, token).expect(200);
    const owned = await createAgent(on.broker, { owner: approvers[0]?.id as string });
    await on.expectRefused(on.exchange(owned, token), 'invalid_request');
    // The approvals do not count for a later delegation either, even to an agent that none of these people control.
    const handed = await on.exchanged(stranger, token);
    await on.expectRefused(on.exchange(owned, handed), 'invalid_request');
    // They do not count if the people are no longer approvers.
    await asBootstrap(on.broker).patch(`/v1/admins/${approvers[1]?.id}`, { roles: [] }).expect(200);
    await on.expectRefused(on.exchange(await on.agent(), token), 'invalid_request');
  });
});

describe('an approval by a former owner of an agent', () => {
  async function createApproved() {
    const on = await createExchangeScene(
      'forbid(principal, action == Action::"request", resource) unless { context.approvals >= 1 };',
    );
    const approver = await createPerson(on.broker, { roles: ['approver'] });
    const { id: next } = await createPerson(on.broker, { roles: ['approver'] });
    const setOwner = (agent: TestAgent, owner: string) =>
      asBootstrap(on.broker).patch(`/v1/agents/${agent.id}`, { owner }).expect(200);
    return { on, approver, next, setOwner };
  }

  it('counts if the owner changed two hours before, and not if it changed a minute before', async () => {
    const { on, approver, next, setOwner } = await createApproved();
    const [early, late] = [
      await createAgent(on.broker, { owner: approver.id }),
      await createAgent(on.broker, { owner: approver.id }),
    ];
    await setOwner(early, next);
    on.clock.advance(7_200);
    const token = await approvedHolding(on, await on.agent(), [approver]);
    await setOwner(late, next);
    on.clock.advance(60);
    await on.exchange(early, token).expect(200);
    await on.expectRefused(on.exchange(late, token), 'invalid_request');
  });

  it('does not count for a delegated grant if the person became owner of an ancestor’s agent after the approval', async () => {
    const { on, approver, next, setOwner } = await createApproved();
    const parent = await on.agent();
    const token = await approvedHolding(on, parent, [approver]);
    const child = await on.agent();
    const handed = await on.exchanged(child, token);
    await setOwner(parent, approver.id);
    on.clock.advance(1);
    await setOwner(parent, next);
    await on.expectRefused(on.exchange(await on.agent(), token), 'invalid_request');
    await on.expectRefused(on.exchange(await on.agent(), handed), 'invalid_request');
  });
});

describe('the actor', () => {
  it('must be the agent that the token names', async () => {
    const [parent, named, other] = [await scene.agent(), await scene.agent(), await scene.agent()];
    const { token } = await scene.holding(parent, {}, { may_act: named.id });
    expect(scene.claims(token).may_act).toEqual({ sub: named.id });
    expect(await scene.introspect(token)).toMatchObject({ active: true, may_act: { sub: named.id } });
    await scene.expectRefused(scene.exchange(other, token), 'invalid_request', 'names another actor');
    const { body } = await scene.exchange(named, token).expect(200);
    expect(scene.claims(body.access_token)).not.toHaveProperty('may_act');
    await scene.expectRefused(parent.token({ may_act: named.id }), 'invalid_target');
  });

  it('must be named if the token is bound to a key; otherwise only the holder may use it', async () => {
    const { broker, clock, resource, exchange, expectRefused, claims } = scene;
    const [parent, child] = [await scene.agent(), await scene.agent()];
    const api = await parent.api();
    await api.post('/v1/grants', grantRequest(resource.identifier)).expect(201);
    const holder = createHolder(clock);
    const ask = async (by: typeof holder, form: Record<string, string>) =>
      parent.token(form).set('DPoP', await by.prove('POST', '/oauth2/token'));
    holder.nonce = (await ask(holder, {})).headers['dpop-nonce'];
    const form = { resource: resource.identifier };
    const bound = (await ask(holder, form)).body.access_token as string;
    expect(claims(bound).cnf).toBeDefined();
    await expectRefused(exchange(child, bound), 'invalid_request', 'bound to a key');
    const naming = (await ask(holder, { ...form, may_act: child.id })).body.access_token as string;
    await exchange(child, naming).expect(200);

    // The holder itself can narrow it, with a proof of its key only.
    const self = { grant_type: exchangeGrant, subject_token: bound, subject_token_type: tokenType('jwt') };
    await expectRefused(exchange(parent, bound), 'invalid_request', 'another key');
    const thief = createHolder(clock);
    thief.nonce = holder.nonce;
    expect((await ask(thief, self)).body.error).toBe('invalid_request');
    const again = await ask(holder, self);
    expect(again.status).toBe(200);
    expect(claims(again.body.access_token).cnf).toEqual(claims(bound).cnf);
    expect(broker.url).not.toBe(scene.replica.url);
  });

  it('gets no grant if the token would be refused for a missing proof', async () => {
    const [parent, strict] = [await scene.agent(), await scene.agent()];
    await asBootstrap(scene.broker)
      .patch(`/v1/agents/${strict.id}`, { require_bound_tokens: true })
      .expect(200);
    const { token } = await scene.holding(parent);
    const refused = await scene.exchange(strict, token).expect(400);
    expect(refused.body.error).toBe('invalid_dpop_proof');
    const { body } = await asBootstrap(scene.broker).get(`/v1/grants?agent_id=${strict.id}`).expect(200);
    expect(body.items).toEqual([]);
  });
});
