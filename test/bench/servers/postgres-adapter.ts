import type pg from 'pg';

/** The table of the adapter, created by the owner of the database. */
export const adapterTable = `
create table oidc_payloads (
  model text not null, id text not null, payload jsonb not null, grant_id text, uid text, user_code text,
  expires_at timestamptz, consumed_at timestamptz, primary key (model, id)
);
create index on oidc_payloads (grant_id);
create index on oidc_payloads (uid);
create index on oidc_payloads (user_code);
grant select, insert, update, delete on oidc_payloads to hallpass_app`;

interface Payload {
  grantId?: string;
  uid?: string;
  userCode?: string;
  [member: string]: unknown;
}

const upsertText = `
insert into oidc_payloads (model, id, payload, grant_id, uid, user_code, expires_at)
values ($1, $2, $3, $4, $5, $6, now() + $7 * interval '1 second')
on conflict (model, id) do update set payload = excluded.payload, grant_id = excluded.grant_id, uid = excluded.uid,
  user_code = excluded.user_code, expires_at = excluded.expires_at`;

const found = `select payload, consumed_at from oidc_payloads
  where (expires_at is null or expires_at > now()) and model = $1 and`;

/**
 * Creates oidc-provider's adapter as its documentation describes it, over one table: each call is one parameterised
 * statement that is kept prepared by name, as the broker's own hot statements are.
 */
export function createAdapterFactory(pool: pg.Pool) {
  const run = (name: string, text: string, values: unknown[]) => pool.query({ name, text, values });
  return (model: string) => {
    async function find(name: string, column: string, value: string): Promise<object | undefined> {
      const { rows } = await run(name, `${found} ${column} = $2`, [model, value]);
      if (rows[0] === undefined) return undefined;
      const { payload, consumed_at } = rows[0] as { payload: object; consumed_at: Date | null };
      return consumed_at === null ? payload : { ...payload, consumed: true };
    }
    return {
      async upsert(id: string, payload: Payload, expiresInSeconds?: number): Promise<void> {
        const { grantId = null, uid = null, userCode = null } = payload;
        const keys = [grantId, uid, userCode, expiresInSeconds ?? null];
        await run('upsert', upsertText, [model, id, JSON.stringify(payload), ...keys]);
      },
      find: (id: string) => find('find', 'id', id),
      findByUid: (uid: string) => find('find-by-uid', 'uid', uid),
      findByUserCode: (userCode: string) => find('find-by-user-code', 'user_code', userCode),
      async consume(id: string): Promise<void> {
        await run('consume', 'update oidc_payloads set consumed_at = now() where model = $1 and id = $2', [
          model,
          id,
        ]);
      },
      async destroy(id: string): Promise<void> {
        await run('destroy', 'delete from oidc_payloads where model = $1 and id = $2', [model, id]);
      },
      async revokeByGrantId(grantId: string): Promise<void> {
        await run('revoke', 'delete from oidc_payloads where grant_id = $1', [grantId]);
      },
    };
  };
}
