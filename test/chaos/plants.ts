import type { CheckName } from './check.ts';
import type { Owner } from './owner.ts';

/** A fault in the data that the broker knows nothing of, and the check that must find it. */
interface Plant {
  finds: CheckName;
  table: string;
  /** When the trigger fires. */
  on: string;
  /** Which rows are the victim's. */
  agentColumn: string;
  /** The trigger's body, for the victim's rows only. */
  body: string;
}

/** Made by the owner of the database, each for one agent alone: everybody else's history must stay clean. */
export const plants = {
  'revocation undone': {
    finds: 'use-after-end',
    table: 'tokens',
    on: 'before update',
    agentColumn: 'agent_id',
    body: 'new.revoked_at := null; return new;',
  },
  'expiry rewritten': {
    finds: 'grant-states',
    table: 'grants',
    on: 'before update',
    agentColumn: 'agent_id',
    body: `if new.status = 'expired' then new.status := 'revoked'; end if; return new;`,
  },
  'idempotency key forgotten': {
    finds: 'one-time',
    table: 'idempotency_keys',
    on: 'after insert',
    agentColumn: 'caller',
    body: 'delete from idempotency_keys k where k.caller = new.caller and k.key = new.key; return null;',
  },
  'event lost': {
    finds: 'on-record',
    table: 'audit_events',
    on: 'before insert',
    agentColumn: 'agent_id',
    body: `if new.type = 'token.issued' then return null; end if; return new;`,
  },
  'time added': {
    finds: 'within-terms',
    table: 'grants',
    on: 'before update',
    agentColumn: 'agent_id',
    body: `if old.status = 'pending' and new.status = 'active' then new.expires_at := new.expires_at + interval '1 hour'; end if;
      return new;`,
  },
} as const satisfies Record<string, Plant>;

export type PlantName = keyof typeof plants;
export const plantNames = Object.keys(plants) as PlantName[];

/** Plants a fault that strikes the rows of one agent. */
export async function plant(owner: Owner, name: PlantName, victimId: string): Promise<void> {
  const { table, on, agentColumn, body } = plants[name];
  const label = `zz_plant_${name.replaceAll(' ', '_')}`;
  await owner.query(`
    create function ${label}() returns trigger language plpgsql security definer as $$ begin ${body} end $$;
    create trigger ${label} ${on} on ${table} for each row
      when (new.${agentColumn} = '${victimId}') execute function ${label}();`);
}
