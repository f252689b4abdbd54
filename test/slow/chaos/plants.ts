import * as chances from '../../chaos-checker/chances.ts';
import type { CheckName } from '../../chaos-checker/check.ts';
import type { Kind } from '../../chaos-checker/history.ts';
import type { Owner } from './owner.ts';
import type { AgentModel, AgentTerms } from './world.ts';

/** A fault that is planted in the data without the broker's knowledge, and the check that must find it. */
interface Plant {
  finds: CheckName;
  /** Counts the opportunities of a history to find the fault. */
  chances: chances.CountChances;
  /** The kinds of operations that create such opportunities. */
  madeBy: readonly Kind[];
  /** The properties that its victim needs. */
  victim: AgentTerms;
  /**
   * Returns the statements by which the owner of the database plants the fault. They affect only the victim: the
   * history of all other agents must stay clean.
   */
  statements: (label: string, victim: AgentModel) => string;
}

interface Trigger {
  table: string;
  /** When the trigger fires. */
  on: string;
  /** The column that identifies the victim's rows by its id. */
  column: string;
  nameOf?: (victim: AgentModel) => string | undefined;
  /** Fires only for the victim's rows. */
  body: string;
}

const trigger =
  ({ table, on, column, nameOf = ({ id }) => id, body }: Trigger): Plant['statements'] =>
  (label, victim) =>
    `
    create function ${label}() returns trigger language plpgsql security definer as $$ begin ${body} end $$;
    create trigger ${label} ${on} on ${table} for each row
      when (new.${column} = '${nameOf(victim)}') execute function ${label}();`;

interface Bypass {
  name: string;
  parameters: string;
  arguments: string;
  /** The condition on the grants \`g\` of the victim. */
  about: string;
}

/** Makes the function report for grants of the victim that nothing has ended; for all others it reports the truth. */
const neverEnded =
  ({ name, parameters, arguments: given, about }: Bypass): Plant['statements'] =>
  (label, { id }) =>
    `
    do $$ begin execute replace(pg_get_functiondef('${name}'::regproc), '${name}(', '${label}('); end $$;
    create or replace function ${name}(${parameters}) returns timestamptz language sql stable parallel safe
    set search_path = pg_catalog, pg_temp as $$
      select case when not exists (select from public.grants g where g.agent_id = '${id}' and ${about})
        then public.${label}(${given}) end $$;`;

const plain: AgentTerms = { proof: 'secret', exchanges: 'none' };
const forgotten = 'delete from used_values u where (u.issuer, u.jti) = (new.issuer, new.jti); return null;';

export const plants = {
  'revocation undone': {
    finds: 'use-after-end',
    chances: chances.usesAfterRevocation,
    madeBy: ['revoke-token'],
    victim: plain,
    statements: trigger({
      table: 'tokens',
      on: 'before update',
      column: 'agent_id',
      body: 'new.revoked_at := null; return new;',
    }),
  },
  'expiry rewritten': {
    finds: 'grant-states',
    chances: chances.expiriesStored,
    madeBy: ['read'],
    victim: plain,
    statements: trigger({
      table: 'grants',
      on: 'before update',
      column: 'agent_id',
      body: `if new.status = 'expired' then new.status := 'revoked'; end if; return new;`,
    }),
  },
  'idempotency key forgotten': {
    finds: 'one-time',
    chances: chances.keysRepeated,
    madeBy: ['request'],
    victim: plain,
    statements: trigger({
      table: 'idempotency_keys',
      on: 'after insert',
      column: 'caller',
      body: 'delete from idempotency_keys k where k.caller = new.caller and k.key = new.key; return null;',
    }),
  },
  'event lost': {
    finds: 'recorded',
    chances: chances.tokensIssued,
    madeBy: ['mint'],
    victim: plain,
    statements: trigger({
      table: 'audit_events',
      on: 'before insert',
      column: 'agent_id',
      body: `if new.type = 'token.issued' then return null; end if; return new;`,
    }),
  },
  'time added': {
    finds: 'within-terms',
    chances: chances.approvalsSeen,
    madeBy: ['read'],
    victim: plain,
    statements: trigger({
      table: 'grants',
      on: 'before update',
      column: 'agent_id',
      body: `if old.status = 'pending' and new.status = 'active' then new.expires_at := new.expires_at + interval '1 hour'; end if;
      return new;`,
    }),
  },
  'assertion forgotten': {
    finds: 'one-time',
    chances: chances.assertionsSentTwice,
    madeBy: ['replay'],
    victim: { proof: 'key', exchanges: 'none' },
    statements: trigger({ table: 'used_values', on: 'after insert', column: 'issuer', body: forgotten }),
  },
  'proof forgotten': {
    finds: 'one-time',
    chances: chances.proofsSentTwice,
    madeBy: ['replay'],
    victim: { proof: 'key', isBound: true, exchanges: 'none' },
    statements: trigger({
      table: 'used_values',
      on: 'after insert',
      column: 'issuer',
      nameOf: ({ holding }) => holding?.jkt,
      body: forgotten,
    }),
  },
  'ancestors not looked at': {
    finds: 'use-after-end',
    chances: chances.usesAfterAncestorEnded,
    madeBy: ['exchange', 'disable'],
    victim: { proof: 'secret', exchanges: 'lent' },
    statements: neverEnded({
      name: 'ancestors_ended_at',
      parameters: 'p_ancestors text[]',
      arguments: 'p_ancestors',
      about: 'g.ancestors = p_ancestors',
    }),
  },
  'subjects not looked at': {
    finds: 'use-after-end',
    chances: chances.usesAfterSubjectEnded,
    madeBy: ['exchange', 'withdraw'],
    victim: { proof: 'secret', exchanges: 'lent' },
    statements: neverEnded({
      name: 'subject_tokens_ended_at',
      parameters: 'p_subjects text[]',
      arguments: 'p_subjects',
      about: 'g.subjects = p_subjects',
    }),
  },
  'access kept': {
    finds: 'lease-use',
    chances: chances.loginsAfterAccess,
    madeBy: ['lease', 'revoke-lease', 'log-in'],
    victim: plain,
    statements: trigger({
      table: 'leases',
      on: 'before update',
      column: 'agent_id',
      body: `if old.status = 'active' and new.status = 'revoking' then
        new.status := 'revoked'; new.access_disabled_at := now(); new.next_attempt_at := now() + interval '1 day'; end if;
      return new;`,
    }),
  },
  'lease never due': {
    finds: 'lease-accounts',
    chances: chances.leasesRevoked,
    madeBy: ['lease', 'revoke-lease'],
    victim: plain,
    statements: trigger({
      table: 'leases',
      on: 'before update',
      column: 'agent_id',
      body: `if old.status = 'active' and new.status = 'revoking' then
        new.next_attempt_at := now() + interval '1 day'; end if;
      return new;`,
    }),
  },
} as const satisfies Record<string, Plant>;

export type PlantName = keyof typeof plants;
export const plantNames = Object.keys(plants) as PlantName[];

/** Plants a fault for one agent. */
export async function plant(owner: Owner, name: PlantName, victim: AgentModel): Promise<void> {
  await owner.query(plants[name].statements(`zz_plant_${name.replaceAll(' ', '_')}`, victim));
}
