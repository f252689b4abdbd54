import type { CheckName } from './check.ts';
import type { Owner } from './owner.ts';
import type { AgentModel, AgentTerms } from './world.ts';

/** A fault in the data that the broker knows nothing of, and the check that must find it. */
interface Plant {
  finds: CheckName;
  /** What its victim has to be like. */
  victim: AgentTerms;
  /** What the owner of the database does, for the victim alone: everybody else's history must stay clean. */
  statements: (label: string, victim: AgentModel) => string;
}

interface Trigger {
  table: string;
  /** When it fires. */
  on: string;
  /** Which rows are the victim's: those that have its name in this column. */
  column: string;
  nameOf?: (victim: AgentModel) => string | undefined;
  /** For the victim's rows only. */
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
  /** Which of the grants \`g` it is asked about. */
  about: string;
}

/** Says yes where it is asked about grants of the victim, and what is true elsewhere. */
const yes =
  ({ name, parameters, arguments: given, about }: Bypass): Plant['statements'] =>
  (label, { id }) =>
    `
    do $$ begin execute replace(pg_get_functiondef('${name}'::regproc), '${name}(', '${label}('); end $$;
    create or replace function ${name}(${parameters}) returns boolean language sql stable parallel safe
    set search_path = pg_catalog, pg_temp as $$
      select exists (select from public.grants g where g.agent_id = '${id}' and ${about}) or public.${label}(${given}) $$;`;

const plain: AgentTerms = { proof: 'secret', exchanges: 'none' };
const forgotten = 'delete from used_values u where (u.issuer, u.jti) = (new.issuer, new.jti); return null;';

export const plants = {
  'revocation undone': {
    finds: 'use-after-end',
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
    victim: plain,
    statements: trigger({
      table: 'idempotency_keys',
      on: 'after insert',
      column: 'caller',
      body: 'delete from idempotency_keys k where k.caller = new.caller and k.key = new.key; return null;',
    }),
  },
  'event lost': {
    finds: 'on-record',
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
    victim: { proof: 'key', exchanges: 'none' },
    statements: trigger({ table: 'used_values', on: 'after insert', column: 'issuer', body: forgotten }),
  },
  'proof forgotten': {
    finds: 'one-time',
    victim: { proof: 'key', isBound: true, exchanges: 'none' },
    statements: trigger({
      table: 'used_values',
      on: 'after insert',
      column: 'issuer',
      nameOf: ({ holding }) => holding?.jkt,
      body: forgotten,
    }),
  },
  'line not looked at': {
    finds: 'use-after-end',
    victim: { proof: 'secret', exchanges: 'lent' },
    statements: yes({
      name: 'line_holds',
      parameters: 'p_ancestors text[], p_until timestamptz',
      arguments: 'p_ancestors, p_until',
      about: 'g.ancestors = p_ancestors',
    }),
  },
  'subjects not looked at': {
    finds: 'use-after-end',
    victim: { proof: 'secret', exchanges: 'lent' },
    statements: yes({
      name: 'subjects_hold',
      parameters: 'p_subjects text[]',
      arguments: 'p_subjects',
      about: 'g.subjects = p_subjects',
    }),
  },
} as const satisfies Record<string, Plant>;

export type PlantName = keyof typeof plants;
export const plantNames = Object.keys(plants) as PlantName[];

/** Plants a fault that strikes one agent. */
export async function plant(owner: Owner, name: PlantName, victim: AgentModel): Promise<void> {
  await owner.query(plants[name].statements(`zz_plant_${name.replaceAll(' ', '_')}`, victim));
}
