import { type HotStatements, runHot } from '../db/hot-statements.ts';

/** The purpose of a value. The same text for another purpose is another value. */
export type Purpose = 'client_assertion' | 'dpop_proof';

/** A value that its issuer must use only once (RFC 7519 section 4.1.7). */
export interface OneTimeValue {
  purpose: Purpose;
  issuer: string;
  jti: string;
  /** The signed expiry of the JWT, in seconds since the epoch. The same value always has the same expiry. */
  exp: number;
}

// Sorted, so that two statements with the same values wait for each other in one direction only, without a deadlock.
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
 * Marks values as used, permanently once committed. Returns for each value whether it was unused before. If `values`
 * contains a value twice, only the first one counts as unused.
 */
export async function useValues(hot: HotStatements, values: OneTimeValue[]): Promise<boolean[]> {
  const statement = { name: 'use-values', text: useText, values: [JSON.stringify(values)] };
  const first = new Set((await runHot<OneTimeValue>(hot, statement)).map(nameOf));
  return values.map((value) => first.delete(nameOf(value)));
}
