import fc from 'fast-check';
import { sql } from 'kysely';
import pg from 'pg';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { effectiveStatus, type GrantLife, isActive, isUsableUntil } from '../../../src/grants/liveness.ts';
import * as liveness from '../../../src/grants/liveness-sql.ts';
import { atEnd } from '../../support/at-end.ts';
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts';
import {
  agentExpiresAt,
  at,
  atOrNull,
  epochsEndedAt,
  type GrantRow,
  tokenEndedAt,
  type World,
  world,
} from './model.ts';
import { insertWorld, namesOf } from './rows.ts';

const { bindInstants } = liveness;
/** The number of worlds. Each has 24 grants, whose status is compared at several instants. */
const worlds = 100;
const seed = 20_261_130;

let database: TestDatabase;
let admin: pg.Client;
beforeAll(async () => {
  database = await createTestDatabase();
  const url = new URL(inject('server').adminUrl);
  url.pathname = new URL(database.ownerUrl).pathname;
  admin = new pg.Client({ connectionString: url.href });
  await admin.connect();
  atEnd(() => admin.end());
  await admin.query('set session_replication_role = replica');
});

interface Verdict {
  epochsEndedAt: Date | null;
  agentExpiresAt: Date | null;
  status: string;
  active: boolean;
  usable: boolean;
}

/** Reads the effective status of each grant, as the SQL computes it. */
async function readVerdicts(ids: string[], now: Date, until: Date): Promise<Verdict[]> {
  const { rows } = await sql<Verdict>`
    select ${bindInstants(liveness.epochsEndedAt)} as "epochsEndedAt",
           ${bindInstants(liveness.agentExpiresAt)} as "agentExpiresAt",
           ${bindInstants(liveness.effectiveStatus, { now })} as status,
           coalesce(${bindInstants(liveness.isActive, { now })}, false) as active,
           coalesce(${bindInstants(liveness.isUsableUntil, { now, until })}, false) as usable
      from grants g join agents a on a.id = g.agent_id join resources r on r.id = g.resource_id
     where g.id = any(${ids}::text[]) order by g.id`.execute(database.db);
  return rows;
}

/** Computes the effective status of a grant, by the model and by the TypeScript rules. */
function judge(of: World, grant: GrantRow, { now, until }: { now: Date; until: Date }): Verdict {
  const life: GrantLife = {
    status: grant.status,
    lapsesAt: at(grant.lapsesAt),
    startsAt: at(grant.startsAt),
    expiresAt: at(grant.expiresAt),
    epochsEndedAt: atOrNull(epochsEndedAt(of, grant)),
    agentExpiresAt: atOrNull(agentExpiresAt(of, grant)),
  };
  return {
    epochsEndedAt: life.epochsEndedAt,
    agentExpiresAt: life.agentExpiresAt,
    status: effectiveStatus(life, now),
    active: isActive(life, now),
    usable: isUsableUntil(life, { now, until }),
  };
}

let runs = 0;

describe('the effective status of a grant', () => {
  it('is the same in TypeScript and in SQL, for any rows of the grant and of what it depends on', async () => {
    const seen = new Map<string, number>();
    const property = fc.asyncProperty(world, fc.nat(20), fc.nat(5), async (of, second, more) => {
      runs += 1;
      const names = namesOf(runs);
      await insertWorld(admin, of, names);
      for (const now of [at(second), at(second + 0.5)]) {
        const until = at(second + 0.5 + more);
        const expected = of.grants.map((grant) => judge(of, grant, { now, until }));
        expect(
          await readVerdicts(
            of.grants.map((_, index) => names.grant(index)),
            now,
            until,
          ),
        ).toEqual(expected);
        for (const { status, usable } of expected)
          seen.set(`${status} ${usable}`, (seen.get(`${status} ${usable}`) ?? 0) + 1);
      }
    });
    await fc.assert(property, { numRuns: worlds, seed, endOnFailure: true });
    // Every state occurred, and so did usable grants.
    for (const state of [
      'pending false',
      'scheduled false',
      'active true',
      'active false',
      'expired false',
      'revoked false',
    ])
      expect(seen.get(state), state).toBeGreaterThan(20);
  }, 120_000);
});

describe('when subject tokens ended', () => {
  it('is the first end of each of them, of its credential, key, issuer or the permission to be unbound', async () => {
    const ended = new Set<boolean>();
    const property = fc.asyncProperty(world, async (of) => {
      runs += 1;
      const names = namesOf(runs);
      await insertWorld(admin, of, names);
      const { rows } = await sql<{ at: Date | null; active: boolean; derivable: boolean }>`
        select subject_tokens_ended_at(array[t.jti]) as at,
               ${sql.raw(liveness.isTokenActive)} and (r.id is null or ${sql.raw(liveness.isBoundAsRequired('r'))}) as active,
               subject_tokens_ended_at(array_append(coalesce(t.subjects, '{}'), t.jti)) is null as derivable
          from tokens t join agents a on a.id = t.agent_id join agent_secrets s on s.id = t.secret_id
          join signing_keys k on k.kid = t.kid left join resources r on r.id = t.resource_id
         where t.jti = any(${of.tokens.map((_, index) => names.token(index))}::text[]) order by t.jti`.execute(
        database.db,
      );
      const expected = of.tokens.map((_, index) => atOrNull(tokenEndedAt(of, index)));
      expect(rows.map((row) => row.at)).toEqual(expected);
      // A token is active for its holder as long as a grant may be delegated for it.
      expect(rows.map((row) => row.active)).toEqual(rows.map((row) => row.derivable));
      for (const one of expected) ended.add(one === null);
    });
    await fc.assert(property, { numRuns: worlds / 4, seed, endOnFailure: true });
    expect(ended).toEqual(new Set([true, false]));
  }, 120_000);
});
