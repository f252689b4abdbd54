import { describe, expect, it } from 'vitest';
import type { AuthenticatedClient } from '../../../src/client-auth/authenticated-client.ts';
import type { Exchanged, ExchangeRequest } from '../../../src/oauth/token-exchange/exchange-call.ts';
import { createKnownExchanges } from '../../../src/oauth/token-exchange/known-exchanges.ts';
import { addSeconds } from '../../../src/platform/clock.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const clientOf = (id: string) => ({ id }) as AuthenticatedClient;
const requestOf = (change: Partial<ExchangeRequest> = {}): ExchangeRequest => ({
  subjectToken: 'a.b.c',
  actorToken: undefined,
  resource: 'https://api.example',
  scopes: ['read'],
  authorizationDetails: undefined,
  mayAct: undefined,
  ...change,
});

function createScene({ lifeSeconds = 300, change = {} as Partial<ExchangeRequest> } = {}) {
  const clock = new FakeClock();
  const exchanged: Exchanged = {
    request: {
      kind: 'access',
      resource: 'https://api.example',
      scopes: ['read'],
      grantId: 'grt_1',
      authorizationDetails: change.authorizationDetails,
      mayAct: undefined,
      notAfter: addSeconds(clock.now(), lifeSeconds),
    },
    delegation: { sub: 'agt_1', act: { sub: 'agt_2' } },
  };
  const known = createKnownExchanges({ clock });
  known.remember({ client: clientOf('agt_2'), request: requestOf(change) }, exchanged);
  const recall = (asked: Partial<ExchangeRequest> = {}, id = 'agt_2') =>
    known.recall({ client: clientOf(id), request: requestOf({ ...change, ...asked }) });
  return { clock, exchanged, recall };
}

describe('a known exchange', () => {
  it('is recalled for the same client and the same request', () => {
    const { exchanged, recall } = createScene();
    const { request, delegation } = exchanged;
    expect(recall()).toEqual({ delegation, request: { ...request, isRepeated: true } });
  });

  it('names the actor of the request, not of the previous one', () => {
    expect(createScene().recall({ mayAct: 'agt_3' })?.request.mayAct).toBe('agt_3');
  });

  it.each<[string, Partial<ExchangeRequest>]>([
    ['another subject token', { subjectToken: 'a.b.d' }],
    ['another resource', { resource: 'https://other.example' }],
    ['no resource', { resource: undefined }],
    ['other scopes', { scopes: ['read', 'write'] }],
    ['no scopes', { scopes: undefined }],
    ['an actor token', { actorToken: 'a.b.c' }],
    ['authorization details', { authorizationDetails: [{ type: 'llm' }] }],
  ])('is not recalled for a request with %s', (_, change) => {
    expect(createScene().recall(change)).toBeUndefined();
  });

  it('is not recalled for another client', () => {
    expect(createScene().recall({}, 'agt_3')).toBeUndefined();
  });

  it('is not recalled once no token can be issued that expires as early as the subject token', () => {
    const { clock, recall } = createScene({ lifeSeconds: 2 });
    clock.advance(1.999);
    expect(recall()).toBeDefined();
    clock.advance(0.001);
    expect(recall()).toBeUndefined();
  });

  it.each<[string, Partial<ExchangeRequest>]>([
    ['authorization details, which the resource checks', { authorizationDetails: [{ type: 'llm' }] }],
    ['an actor token, which must be active', { actorToken: 'x.y.z' }],
  ])('is never one with %s', (_, change) => {
    expect(createScene({ change }).recall()).toBeUndefined();
  });
});
