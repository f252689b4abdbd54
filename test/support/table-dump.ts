import type pg from 'pg';

/** Returns every row of every table as text, each line with its table's name, sorted by the rows themselves. */
export async function dumpTables(owner: pg.Client): Promise<string> {
  const tables = await owner.query<{ name: string }>(
    `select relname as name from pg_class
      where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition order by relname`,
  );
  const selects = tables.rows.map(({ name }) => `select '${name} ' || t::text as line from ${name} t`);
  const rows = await owner.query<{ line: string }>(`${selects.join(' union all ')} order by line`);
  return rows.rows.map(({ line }) => line).join('\n');
}
