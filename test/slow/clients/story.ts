import { expect } from 'vitest';
import { readAtOnce } from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';
import { storyAgent, storyResource } from '../../support/story-objects.ts';
import type { Caller, GeneratedClient } from './generated-client.ts';

const forbidPurge =
  'forbid(principal, action == Action::"request", resource) when { context.scopes.contains("purge") };';

/**
 * Performs the story of a grant, from its request to its revocation, with a client that was generated from the
 * contract.
 */
export async function tellStory(client: GeneratedClient, bootstrapKey: string): Promise<void> {
  const admin = client.as(bootstrapKey);
  const { approver, credentials, resource } = await setUp(client, admin);
  const brokerToken = await client.issueToken({ grant_type: 'client_credentials', ...credentials });
  const agent = client.as(brokerToken.access_token);

  const request = { resource, duration_seconds: 600, reason: 'the story' };
  const atOnce = await agent.createGrant({ ...request, scopes: ['read'] });
  expect(atOnce.status).toBe('active');
  const denied = await agent.requestDeniedGrant({ ...request, scopes: ['read', 'purge'] });
  expect(denied).toMatchObject({ status: 403, code: 'policy-denied', hints: [{ scopes: ['read'] }] });

  const pending = await agent.createGrant({ ...request, scopes: ['admin'] });
  expect(pending).toMatchObject({ status: 'pending', decision: { approvals_required: 1 } });
  const waiting = agent.getGrant(pending.id, 30);
  const { request_digest } = await approver.caller.getGrant(pending.id, 0);
  const approved = await approver.caller.approveGrant(pending.id, { request_digest, note: 'agreed' });
  expect(approved.decision.approvals).toMatchObject([{ by: approver.id }]);
  expect((await waiting).status).toBe('active');

  const grant_type = 'client_credentials';
  const token = await client.issueToken({ grant_type, ...credentials, resource, scope: 'admin' });
  expect(token).toMatchObject({ token_type: 'Bearer', scope: 'admin', grant_id: pending.id });
  const reference = { ...credentials, token: token.access_token };
  expect(await client.introspectToken(reference)).toMatchObject({ active: true, scope: 'admin' });
  await client.revokeToken(reference);
  expect(await client.introspectToken(reference)).toEqual({ active: false });

  const revoked = await approver.caller.revokeGrant(pending.id, { reason: 'enough' });
  expect(revoked).toMatchObject({ status: 'revoked', end_reason: 'enough' });
  await eventually(async () => expect(await admin.listEventTypes(pending.id)).toContain('grant.revoked'));
}

/** Creates people, a resource, the policies and an agent. */
async function setUp(client: GeneratedClient, admin: Caller) {
  const owner = await admin.createAdmin({ name: 'Owner', email: 'owner@example.com', roles: [] });
  const person = await admin.createAdmin({
    name: 'Approver',
    email: 'approver@example.com',
    roles: ['approver'],
  });
  const { key } = await admin.createAdminKey(person.id, { name: 'laptop' });
  const purge = { name: 'purge', description: 'Delete everything', risk: 'high' as const };
  const scopes = [...storyResource.scopes, purge];
  const { identifier } = await admin.createResource({ ...storyResource, scopes });
  const policy = await admin.createPolicy({ name: 'reading at once', cedar: readAtOnce });
  expect(policy.version).toBe(1);
  await admin.createPolicy({ name: 'nobody purges', cedar: forbidPurge });
  const { client_id, client_secret = '' } = await admin.createAgent(storyAgent(owner.id));
  const approver = { id: person.id, caller: client.as(key) };
  return { approver, credentials: { client_id, client_secret }, resource: identifier };
}
