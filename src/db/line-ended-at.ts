import { sql } from 'kysely';

/** When the first of the grants or tokens ended that grant g was handed down from; null: they last, or there are none. */
export const lineEndedAt = sql`case when g.ancestors <> '{}'
  then least(line_ended_at(g.ancestors), subjects_ended_at(g.subjects)) end`;
