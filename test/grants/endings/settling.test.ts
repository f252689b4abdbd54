import { beforeAll, describe, expect, it } from 'vitest';
import { withTransaction } from '../../../src/db/transaction.ts';
import type { GrantEndings } from '../../../src/grants/endings/endings.ts';
import type { Clock } from '../../../src/platform/clock.ts';
import { createIds } from '../../../src/platform/ids.ts';
import { createSystemRandom } from '../../../src/platform/random.ts';
import { createExchangeScene, type ExchangeScene } from '../../oauth/token-exchange/exchange-scene.ts';
import { asBootstrap, oauthPost } from '../../support/broker.ts';
import { eventually } from '../../support/eventually.ts';
import { grantEndingsOn } from '../../support/grant-endings.ts';
import { insertCopies } from '../copies.ts';
import { countAncestorReads } from './count-calls.ts';

/** More grants than one batch takes, in the background or before the response. */
const many = 1_100;

let scene: ExchangeScene;
beforeAll(async () => {
  scene = await createExchangeScene();
  await scene.broker.worker.register();
});

const admin = () => asBootstrap(scene.broker);
const query = async (text: string, values: unknown[] = []) =>
  (await scene.broker.database.owner.query(text, values)).rows;

/**
 * Creates a grant, a second one delegated from it, and a third one delegated from the second; and `copies` of the
 * second one.
 */
async function createChain(copies = 0) {
  const chain = await scene.chain(await scene.agent());
  if (copies > 0) {
    const { owner } = scene.broker.database;
    const copied = { template: chain.middleGrant, status: 'active', end: 'expires_at' } as const;
    await insertCopies(owner, { ...copied, count: copies });
  }
  return chain;
}
type Chain = Awaited<ReturnType<typeof createChain>>;

interface Ends {
  open: number;
  ended: number;
  events: number;
  reasons: string[];
}

/** Counts the grants delegated from the first grant of a chain: open, ended, and their audit events. */
async function readEnds({ rootGrant }: Pick<Chain, 'rootGrant'>): Promise<Ends> {
  const [row] = await query(
    `select count(distinct g.id) filter (where g.status = 'active')::integer as open,
            count(distinct g.id) filter (where g.status = 'revoked')::integer as ended,
            count(e.id)::integer as events,
            coalesce(array_agg(distinct e.details ->> 'reason') filter (where e.id is not null), '{}') as reasons
       from grants g left join audit_events e on e.grant_id = g.id and e.type = 'grant.revoked'
      where g.ancestors @> array[$1]`,
    [rootGrant],
  );
  return row;
}

const allEnded = (count: number) => ({ open: 0, ended: count, events: count });
const revokeRoot = ({ rootGrant }: Chain) =>
  admin().post(`/v1/grants/${rootGrant}/revoke`, { reason: 'over' }).expect(200);
const disableRoot = ({ root }: Chain) => admin().post(`/v1/agents/${root.id}/disable`, {}).expect(200);
const runJob = (on = scene.broker) => on.worker.runNow('expire-grants', scene.clock.now());
const queued = async (): Promise<number> => (await query('select id from grant_endings')).length;

/** Disables an agent by SQL instead of through its broker, so that only `endings` settles the grants. */
async function disableSilently(agentId: string, endings: GrantEndings): Promise<void> {
  const { clock, broker } = scene;
  const at = clock.now();
  await query('update agents set epoch = epoch + 1, updated_at = $2 where id = $1', [agentId, at]);
  await withTransaction(broker.database.db, async (tx) => {
    const selection = { kind: 'agent', agentId } as const;
    const actor = { kind: 'person', id: 'adm_who_disabled' } as const;
    await endings.end(tx, { selection, reason: 'its agent was disabled', at, actor });
  });
}

describe('an ending of more grants than a batch takes', () => {
  it.each<[string, (chain: Chain) => PromiseLike<unknown>]>([
    ['of a grant', revokeRoot],
    ['of an agent', disableRoot],
    [
      'of a token',
      ({ root, tokens }) => oauthPost(scene.broker, '/oauth2/revoke', { token: tokens[0] }, root),
    ],
  ])('%s is settled in the background, in transactions of at most 1,000, each grant once', async (_, end) => {
    const chain = await createChain(many);
    await end(chain);
    const { ended, events } = await readEnds(chain);
    expect(ended).toBeGreaterThan(0);
    expect(events).toBe(ended);
    await eventually(async () => expect(await readEnds(chain)).toMatchObject(allEnded(many + 2)));
    const [largest] = await query(
      `select max(n)::integer as n from (
         select count(*) as n from grants where ancestors @> array[$1] group by xmin) each`,
      [chain.rootGrant],
    );
    expect(largest.n).toBeLessThanOrEqual(1_000);
    expect(await queued()).toBe(0);
  });

  it('ends a grant after the grants delegated from it, even if the work stops in between', async () => {
    const chain = await createChain(many);
    // No background work is in progress here: the rows are those that a crash would leave.
    const ids = createIds(scene.clock, createSystemRandom());
    const { db } = scene.broker.database;
    const stopped = grantEndingsOn({ db, ids, clock: scene.clock });
    await disableSilently(chain.root.id, stopped);
    await stopped.stop();
    await stopped.settle();
    expect(await readEnds(chain)).toMatchObject({ open: many + 2, events: 0 });
    await runJob(scene.replica);
    expect(await readEnds(chain)).toMatchObject(allEnded(many + 2));
    const [root] = await query('select status, ended_by, end_reason from grants where id = $1', [
      chain.rootGrant,
    ]);
    expect(root).toEqual({
      status: 'revoked',
      ended_by: 'adm_who_disabled',
      end_reason: 'its agent was disabled',
    });
  });

  it('computes when a grant ended once for each grant, not once for each grant and batch', async () => {
    const chain = await createChain(many);
    const countCalls = await countAncestorReads(scene.broker.database.owner);
    await revokeRoot(chain);
    await eventually(async () => expect(await readEnds(chain)).toMatchObject(allEnded(many + 2)));
    const calls = await countCalls();
    expect(calls).toBeGreaterThan(many);
    expect(calls).toBeLessThan(1.5 * many);
  });

  it('is settled once by replicas that settle at the same time', async () => {
    const chain = await createChain(many);
    await scene.replica.worker.register();
    await Promise.all([revokeRoot(chain), runJob(scene.replica), runJob(scene.broker)]);
    await eventually(async () => {
      // The background work pauses for this long when another replica has the ending locked.
      scene.clock.advance(0.5);
      expect(await queued()).toBe(0);
    });
    expect(await readEnds(chain)).toMatchObject(allEnded(many + 2));
  });
});

describe('an ending', () => {
  it('waits for no lock: a grant that another transaction has locked is inactive, and is written as ended a second later', async () => {
    const chain = await createChain();
    const holder = await scene.broker.database.pool.connect();
    await holder.query('begin');
    await holder.query('select from grants where id = $1 for update', [chain.leafGrant]);
    await revokeRoot(chain);
    expect(await readEnds(chain)).toMatchObject({ open: 1, ended: 1, events: 1 });
    expect(await scene.introspect(chain.tokens[2])).toEqual({ active: false });
    await holder.query('rollback');
    holder.release();
    await eventually(async () => {
      scene.clock.advance(1);
      expect(await readEnds(chain)).toMatchObject(allEnded(2));
    });
    expect(await queued()).toBe(0);
  });

  it('that fails is retried at growing intervals, and others are settled meanwhile', async () => {
    const [poisoned, other] = [await createChain(), await createChain()];
    await query(`create function refuse_end() returns trigger language plpgsql as $$
      begin if new.id = '${poisoned.leafGrant}' then raise 'poisoned'; end if; return new; end $$;
      create trigger poisoned before update on grants for each row execute function refuse_end()`);
    await revokeRoot(poisoned);
    await revokeRoot(other);
    await eventually(async () => expect(await readEnds(other)).toMatchObject(allEnded(2)));
    expect(await readEnds(poisoned)).toMatchObject({ open: 2, events: 0 });
    expect(await scene.introspect(poisoned.tokens[2])).toEqual({ active: false });
    const attempts = async () => {
      const [row] = await query(
        'select attempts, last_error, next_attempt_at - $1 as wait from grant_endings',
        [scene.clock.now()],
      );
      return row;
    };
    await eventually(async () => {
      scene.clock.advance(1);
      expect((await attempts()).attempts).toBeGreaterThan(2);
    });
    expect((await attempts()).last_error).toContain('poisoned');
    await query('drop trigger poisoned on grants; drop function refuse_end()');
    // An attempt that was in progress may have failed since, and may have postponed the next one again.
    await eventually(async () => {
      scene.clock.advance(30);
      await runJob();
      expect(await queued()).toBe(0);
    });
    expect(await readEnds(poisoned)).toMatchObject(allEnded(2));
  });

  it('writes only grants that its own cause ended: other grants get the person and the reason of their own cause', async () => {
    const [chain, other] = [await createChain(), await createChain()];
    // Raises an epoch without an ending, as `end-all` does.
    await query('update agents set epoch = epoch + 1, updated_at = $2 where id = $1', [
      chain.root.id,
      scene.clock.now(),
    ]);
    const path = `/v1/agents/${other.root.id}`;
    const { body } = await admin().get(path).expect(200);
    await admin().delete(`${path}/secrets/${body.secrets[0].id}`).expect(204);
    expect(await readEnds(chain)).toMatchObject({ open: 2, events: 0 });
    expect((await readEnds(other)).reasons).toEqual([
      'its parent grant ended',
      'the credential of its subject token was revoked',
    ]);
    scene.clock.advance(10);
    await runJob();
    expect(await readEnds(chain)).toMatchObject(allEnded(2));
    const actors = await query(
      `select distinct e.actor_kind from audit_events e join grants g on g.id = e.grant_id
        where e.type = 'grant.revoked' and g.ancestors @> array[$1]`,
      [chain.rootGrant],
    );
    expect(actors).toEqual([{ actor_kind: 'system' }]);
  });

  it('of a secret that was already revoked ends nothing and is not queued', async () => {
    const { root } = await createChain();
    await createChain();
    const path = `/v1/agents/${root.id}`;
    const { body } = await admin().get(path).expect(200);
    const remove = () => admin().delete(`${path}/secrets/${body.secrets[0].id}`).expect(204);
    await remove();
    const before = await query('select count(*)::integer as n from audit_events');
    await remove();
    expect(await query('select count(*)::integer as n from audit_events')).toEqual(before);
    expect(await queued()).toBe(0);
  });
});

describe('the background work', () => {
  it('pauses before it tries again an ending that another process has locked', async () => {
    const { rootGrant, root } = await createChain();
    const pauses: number[] = [];
    const { clock } = scene;
    const watched: Clock = {
      now: () => clock.now(),
      setTimer(delayMs, run) {
        pauses.push(delayMs);
        return clock.setTimer(delayMs, run);
      },
    };
    const { db, pool } = scene.broker.database;
    const endings = grantEndingsOn({ db, clock: watched, ids: createIds(clock, createSystemRandom()) });
    await disableSilently(root.id, endings);
    const holder = await pool.connect();
    await holder.query('begin');
    await holder.query('select from grant_endings for update');
    await endings.settle();
    await eventually(async () => expect(pauses.length).toBeGreaterThan(0));
    expect(pauses).toEqual([100]);
    expect(await readEnds({ rootGrant })).toMatchObject({ ended: 0 });
    await holder.query('rollback');
    holder.release();
    await eventually(async () => {
      clock.advance(1);
      expect(await readEnds({ rootGrant })).toMatchObject(allEnded(2));
    });
    await endings.stop();
  });

  it('stops at once, also in the pause after a batch', async () => {
    const { root } = await createChain(many);
    let pauses = 0;
    const { clock } = scene;
    let elapsedMs = 0;
    // Every batch takes time, and pauses do not end by themselves.
    const endless: Clock = {
      now() {
        elapsedMs += 1;
        return new Date(clock.now().getTime() + elapsedMs);
      },
      setTimer() {
        pauses += 1;
        return { cancel: () => {} };
      },
    };
    const { db } = scene.broker.database;
    const endings = grantEndingsOn({ db, clock: endless, ids: createIds(clock, createSystemRandom()) });
    await disableSilently(root.id, endings);
    await endings.settle();
    await eventually(async () => expect(pauses).toBe(1));
    await endings.stop();
    await query('delete from grant_endings');
  });
});
