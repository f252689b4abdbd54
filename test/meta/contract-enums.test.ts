import { describe, expect, expectTypeOf, it } from 'vitest';
import type { AgentStatus, ClientAuthMethod, Environment } from '../../src/agents/agent.ts';
import { type ActorKind, auditEventTypes } from '../../src/audit/audit-event.ts';
import type { Role } from '../../src/caller.ts';
import { signingAlgs } from '../../src/crypto/algorithms.ts';
import { errorTable } from '../../src/errors.ts';
import type { Risk } from '../../src/grants/facts.ts';
import { grantStatuses } from '../../src/grants/states.ts';
import type { components } from '../../src/http/api.gen.ts';
import { readContract } from '../../src/http/contract.ts';
import type { KeyState } from '../../src/keys/signing-key.ts';
import { grantTypes } from '../../src/oauth/grant-types.ts';
import type { ResourceKind } from '../../src/resources/resource.ts';
import { schedules } from '../../src/worker/schedules.ts';

type Schemas = components['schemas'];

const { schemas } = (
  readContract().document as { components: { schemas: Record<string, { enum?: string[] }> } }
).components;

/** Returns the distinct `error` values of the table. An error without one is answered as `server_error`. */
function oauthErrors(table: Record<string, object>): string[] {
  return [
    ...new Set(Object.values(table).flatMap((entry) => ('oauth' in entry ? [String(entry.oauth)] : []))),
  ];
}

/** Each schema with a closed set of values, and the values that the code has. */
const tables: [schema: string, values: readonly string[]][] = [
  ['ErrorCode', Object.keys(errorTable)],
  ['OauthErrorCode', oauthErrors(errorTable)],
  ['AuditEventType', auditEventTypes],
  ['GrantStatus', grantStatuses],
  ['GrantType', [...grantTypes.keys()]],
  ['JobName', Object.keys(schedules)],
  ['SigningAlg', signingAlgs],
];

/** Describes how the values of a schema and of a table differ; empty if they do not. */
function difference(declared: readonly string[], known: readonly string[]): string[] {
  return [
    ...known.filter((value) => !declared.includes(value)).map((value) => `not in the contract: ${value}`),
    ...declared.filter((value) => !known.includes(value)).map((value) => `not in the code: ${value}`),
  ];
}

describe('the closed sets of the contract', () => {
  it.each(tables)('are those of the tables in the code: %s', (schema, values) => {
    expect(values.length).toBeGreaterThan(1);
    expect(difference(schemas[schema]?.enum ?? [], values)).toEqual([]);
  });

  it('are reported as different if the code or the contract has one more', () => {
    expect(difference(['a'], ['a', 'b'])).toEqual(['not in the contract: b']);
    expect(difference(['a', 'c'], ['a'])).toEqual(['not in the code: c']);
    const grown = { ...errorTable, new: { status: 400, title: 'New', oauth: 'new_error' } };
    expect(difference(schemas.ErrorCode?.enum ?? [], Object.keys(grown))).toEqual([
      'not in the contract: new',
    ]);
    expect(difference(schemas.OauthErrorCode?.enum ?? [], oauthErrors(grown))).toEqual([
      'not in the contract: new_error',
    ]);
  });

  it('are the union types of the code if the code has no table (checked by the compiler)', () => {
    expectTypeOf<Schemas['AgentStatus']>().toEqualTypeOf<AgentStatus>();
    expectTypeOf<Schemas['ClientAuthMethod']>().toEqualTypeOf<ClientAuthMethod>();
    expectTypeOf<Schemas['Environment']>().toEqualTypeOf<Environment>();
    expectTypeOf<Schemas['KeyStatus']>().toEqualTypeOf<KeyState>();
    expectTypeOf<Schemas['ResourceKind']>().toEqualTypeOf<ResourceKind>();
    expectTypeOf<Schemas['Risk']>().toEqualTypeOf<Risk>();
    expectTypeOf<Schemas['Role']>().toEqualTypeOf<Role>();
    expectTypeOf<Schemas['AuditEvent']['actor']['kind']>().toEqualTypeOf<ActorKind>();
    // @ts-expect-error One more state does not compile, which shows that the comparison can fail.
    expectTypeOf<Schemas['KeyStatus']>().toEqualTypeOf<KeyState | 'lost'>();
  });
});
