import type pg from 'pg';

export interface Copies {
  /** The id of the grant that is copied. */
  template: string;
  count: number;
  status: 'active' | 'pending';
  /** An SQL expression for the end of a copy. It may use `n`, the number of the copy, from 1. */
  end: string;
}

/** Inserts `count` copies of a grant, with ids `grt_copy_<n>_...`, in a given state and with a given end. */
export async function insertCopies(
  owner: pg.Client,
  { template, count, status, end }: Copies,
): Promise<void> {
  const { rows } = await owner.query<{ name: string }>(
    "select column_name as name from information_schema.columns where table_name = 'grants'",
  );
  const other: Record<string, string> = {
    id: "'grt_copy_' || n || '_' || gen_random_uuid()",
    status: `'${status}'`,
    [status === 'active' ? 'expires_at' : 'lapses_at']: end,
    starts_at: "'2000-01-01'",
  };
  const names = rows.map(({ name }) => name);
  await owner.query(
    `insert into grants (${names.join()}) select ${names.map((name) => other[name] ?? name).join()}
       from grants, generate_series(1, ${count}) n where id = '${template}'`,
  );
  // As autovacuum would a little later: without statistics the plans are those of a small table.
  await owner.query('analyze grants');
}
