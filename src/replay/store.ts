import { type HotStatements, runHot } from '../db/hot-statements.ts';

/** What a value is used for: the same text for another purpose is another value. */
export type Purpose = 'client_assertion' | 'dpop_proof';

/** A value that its issuer gives once (RFC 7519 section 4.1.7). */
export interface OneTimeValue {
  purpose: Purpose;
  issuer: string;
  jti: string;
  /** The signed end of what it came in, in seconds since the epoch; the same value comes with the same end. */
  exp: number;
}

// In order, so that two statements that use the same values wait for each other instead of both (a deadlock).
const useText = `
insert into used_values (purpose, issuer, jti, exp)
select purpose, issuer, jti, to_timestamp(exp)
  from json_to_recordset($1::json) as x(purpose text, issuer text, jti text, exp bigint)
 order by purpose, issuer, jti, exp
on conflict do nothing
returning purpose, issuer, jti, extract(epoch from exp)::bigint as exp`;

const nameOf = ({ purpose, issuer, jti, exp }: OneTimeValue): string =>
  JSON.stringify([purpose, issuer, jti, Number(exp)]);

/**
 * Marks values as used, for ever, once this is committed. Answers for each whether it had not been used before: of the
 * same value among `values`, that is true once.
 */
export async function useValues(hot: HotStatements, values: OneTimeValue[]): Promise<boolean[]> {
  const statement = { name: 'use-values', text: useText, values: [JSON.stringify(values)] };
  const first = new Set((await runHot<OneTimeValue>(hot, statement)).map(nameOf));
  return values.map((value) => first.delete(nameOf(value)));
}
