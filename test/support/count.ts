import type { TestDatabase } from './test-database.ts';

/** Counts the audit events of a type, of one grant or agent or of all, without the API. */
export async function countEvents(
  database: TestDatabase,
  type: string,
  where: { grantId?: string; agentId?: string } = {},
): Promise<number> {
  const { rows } = await database.owner.query<{ n: string }>(
    `select count(*) as n from audit_events
      where type = $1 and ($2::text is null or grant_id = $2) and ($3::text is null or agent_id = $3)`,
    [type, where.grantId ?? null, where.agentId ?? null],
  );
  return Number(rows[0]?.n);
}

/** Counts the responses by status. */
export function tally(responses: { status: number }[]): Record<number, number> {
  const counts: Record<number, number> = {};
  for (const { status } of responses) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

/** Starts `count` calls at the same time. */
export function parallel<T>(count: number, call: (index: number) => PromiseLike<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: count }, (_, index) => Promise.resolve(call(index))));
}
