import type { Clock } from '../../platform/clock.ts';
import { assertBefore } from '../deadline.ts';
import type { FoundAccount } from '../engine.ts';
import { runBeforeDeadline } from './before-deadline.ts';
import type { Session } from './connections.ts';
import { sqlState, sqlStateOf } from './failure.ts';
import { readTargetTime } from './target-time.ts';

/** Finds the roles whose name begins with `prefix`. */
export async function listAccounts(session: Session, prefix: string, clock: Clock): Promise<FoundAccount[]> {
  const time = await readTargetTime(session, clock);
  const { rows } = await session.query<{ name: string; canLogIn: boolean; expiresMs: number | null }>(
    `select rolname as name, rolcanlogin as "canLogIn",
            case when isfinite(rolvaliduntil) then (extract(epoch from rolvaliduntil) * 1000)::float8
                 when rolvaliduntil = '-infinity' then 0 end as "expiresMs"
       from pg_roles where starts_with(rolname, $1) order by rolname`,
    [prefix],
  );
  return rows.map(({ name, canLogIn, expiresMs }) => ({
    name,
    canLogIn,
    expiresAt: expiresMs === null ? null : time.toBroker(new Date(expiresMs)),
  }));
}

/** Changes the password of the role of this session. Throws `deadline-passed`. */
export async function changeOwnPassword(
  session: Session,
  { verifier, deadline, clock }: { verifier: string; deadline: Date; clock: Clock },
): Promise<void> {
  const time = await readTargetTime(session, clock);
  const { rows } = await session.query<{ statement: string }>(
    `select format('alter role %I password %L', session_user, $1::text) as statement`,
    [verifier],
  );
  assertBefore(deadline, clock);
  await runBeforeDeadline(session, [rows[0]?.statement ?? ''], { deadline, time });
}

/** Returns the number that initdb gave the server, which its replicas share; undefined if the admin account may not read it. */
export async function readSystemIdentifier(session: Session): Promise<string | undefined> {
  try {
    const { rows } = await session.query<{ id: string }>(
      'select system_identifier::text as id from pg_control_system()',
    );
    return rows[0]?.id;
  } catch (error) {
    if (sqlStateOf(error) === sqlState.insufficientPrivilege) return undefined;
    throw error;
  }
}
