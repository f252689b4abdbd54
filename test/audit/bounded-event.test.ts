import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { createAudit } from '../../src/audit/audit.ts';
import { auditEventTypes, type NewAuditEvent } from '../../src/audit/audit-event.ts';
import { boundEvent, eventLimits } from '../../src/audit/bounded-event.ts';
import { createIds } from '../../src/platform/ids.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts';

const bytesOf = (value: unknown): number => Buffer.byteLength(JSON.stringify(value));
const huge = 'ü🗝'.repeat(20_000);
const nested = (levels: number): unknown => (levels === 0 ? 'innermost' : { inner: nested(levels - 1) });

/** Makes an event in which every field is far too large. */
const oversized = (type: NewAuditEvent['type']): NewAuditEvent => ({
  type,
  actor: { kind: 'agent', id: huge, keyId: huge },
  origin: { requestId: huge, address: huge },
  agentId: huge,
  grantId: huge,
  objectId: huge,
  details: {
    code: 'kept',
    text: huge,
    list: Array.from({ length: 3_000 }, (_, n) => ({ n })),
    deep: nested(1_000),
    [huge]: 1,
    ...Object.fromEntries(Array.from({ length: 2_000 }, (_, n) => [`member-${n}-${'x'.repeat(20)}`, 'x'])),
  },
});

const ordinary: NewAuditEvent = {
  type: 'grant.requested',
  outcome: 'denied',
  actor: { kind: 'person', id: 'adm_01kjdw0a5vf8h8v0m6gq3r9x2c', keyId: 'key_01kjdw0a5vf8h8v0m6gq3r9x2c' },
  origin: { requestId: 'req_01kjdw0a5vf8h8v0m6gq3r9x2c', address: '2001:db8::1' },
  agentId: 'agt_01kjdw0a5vf8h8v0m6gq3r9x2c',
  grantId: null,
  objectId: 'res_01kjdw0a5vf8h8v0m6gq3r9x2c',
  details: {
    // The largest values that the contract accepts: scopes, a resource, a reason, details.
    scopes: Array.from({ length: 100 }, (_, n) => String(n).padEnd(128, 's')),
    resource: `https://${'r'.repeat(504)}`,
    reason: '🗝'.repeat(1_000),
    authorization_details: [{ type: 'file', path: 'p'.repeat(4_060) }],
    expires_at: null,
    approvals: 0,
    isFresh: true,
  },
};

describe('an audit event', () => {
  it('is not changed if the contract accepts its values', () => {
    expect(boundEvent(ordinary)).toEqual(ordinary);
  });

  it('has each field that is too large cut, with its original size', () => {
    const text = `${'a'.repeat(eventLimits.text)}b`;
    const list = Array.from({ length: eventLimits.items + 1 }, () => 0);
    const { details } = boundEvent({ ...ordinary, details: { text, list, deep: nested(50) } });
    expect(details?.text).toMatch(/^a+ \[cut: 4097 characters\]$/);
    expect(details?.text).toHaveLength(eventLimits.text);
    expect(details?.list).toHaveLength(eventLimits.items + 1);
    expect((details?.list as unknown[]).at(-1)).toBe('[cut: 2049 elements]');
    expect(JSON.stringify(details?.deep)).toContain('[cut: nested deeper]');
    expect(boundEvent({ ...ordinary, objectId: huge }).objectId).toMatch(/ \[cut: 60000 characters\]$/);
  });

  it('keeps its small details if all details together are too large', () => {
    const large = Array.from({ length: 1_000 }, () => 'x'.repeat(50));
    const { details } = boundEvent({ ...ordinary, details: { large, code: 'policy-denied', reason: 'why' } });
    expect(details).toEqual({
      cut: `${bytesOf({ large, code: 'policy-denied', reason: 'why' })} bytes`,
      code: 'policy-denied',
      reason: 'why',
      large: `[cut: ${bytesOf(large)} bytes]`,
    });
  });

  it('is within its limits for any details', () => {
    const tooLong = fc.constantFrom('x'.repeat(5_000), '\u0001'.repeat(5_000), huge);
    const json = fc.letrec((tie) => ({
      value: fc.oneof({ depthSize: 'small' }, fc.jsonValue(), tooLong, tie('list'), tie('object')),
      list: fc.array(tie('value'), { maxLength: 20 }),
      object: fc.dictionary(fc.string(), tie('value'), { maxKeys: 20 }),
    })).object;
    fc.assert(
      fc.property(json, (details) => {
        const bounded = boundEvent({ ...ordinary, details: details as Record<string, unknown> }).details;
        expect(bytesOf(bounded)).toBeLessThanOrEqual(eventLimits.bytes);
      }),
      { numRuns: 100 },
    );
  });
});

describe('the audit log', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase();
  });

  it('stores a bounded event of every type for fields of any size', async () => {
    const clock = new FakeClock();
    const audit = createAudit({ clock, ids: createIds(clock, createSystemRandom()) });
    await audit.appendAll(database.db, auditEventTypes.map(oversized));
    const { rows } = await database.owner.query('select * from audit_events');
    expect(rows.map(({ type }) => type).sort()).toEqual([...auditEventTypes].sort());
    for (const { details, at: _, ...columns } of rows) {
      expect(bytesOf(details)).toBeLessThanOrEqual(eventLimits.bytes);
      expect(details.code).toBe('kept');
      for (const value of Object.values(columns)) {
        expect(String(value).length).toBeLessThanOrEqual(eventLimits.id);
      }
    }
  });

  it('stores an ordinary event unchanged', async () => {
    const clock = new FakeClock();
    const audit = createAudit({ clock, ids: createIds(clock, createSystemRandom()) });
    const id = 'adm_of_the_ordinary_event';
    await audit.append(database.db, { ...ordinary, actor: { ...ordinary.actor, id } });
    const { rows } = await database.owner.query('select * from audit_events where actor_id = $1', [id]);
    expect(rows).toEqual([expect.objectContaining({ type: ordinary.type, details: ordinary.details })]);
  });

  it('has no half of a surrogate pair, which the database refuses, also in a short text', () => {
    const event = boundEvent({ ...ordinary, details: { reason: 'cut \ud83d' } });
    expect(event.details).toEqual({ reason: 'cut \ufffd' });
  });
});
