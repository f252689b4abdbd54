import type pg from 'pg';

/**
 * Replaces `ancestors_ended_at` by a function that counts its calls, also those of transactions that are rolled back.
 * Returns a function that restores it and returns the number of calls.
 */
export async function countAncestorReads(owner: pg.Client): Promise<() => Promise<number>> {
  await owner.query(`create sequence counted_reads;
    alter function ancestors_ended_at(text[]) rename to ancestors_ended_at_uncounted;
    create function ancestors_ended_at(ancestors text[]) returns timestamptz language plpgsql stable security definer
      as $$ begin
        perform nextval('public.counted_reads');
        return public.ancestors_ended_at_uncounted(ancestors);
      end $$`);
  return async () => {
    const { rows } = await owner.query<{ n: number }>('select last_value::integer as n from counted_reads');
    await owner.query(`drop function ancestors_ended_at(text[]);
      alter function ancestors_ended_at_uncounted(text[]) rename to ancestors_ended_at;
      drop sequence counted_reads`);
    return rows[0]?.n ?? 0;
  };
}
