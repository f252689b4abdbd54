const rfc3339 = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,9})?(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

/**
 * Whether `text` is a date-time of RFC 3339 section 5.6 that both `Date` and PostgreSQL can represent: a date of the
 * calendar, in the years 1 to 9999 in UTC. Both reject leap seconds.
 */
export function isInstant(text: string): boolean {
  const local = rfc3339.exec(text)?.[1];
  if (local === undefined) return false;
  const asUtc = new Date(`${local}Z`);
  // `Date` turns the 30th of February into a day of March: only a valid date is unchanged after parsing.
  if (Number.isNaN(asUtc.getTime()) || !asUtc.toISOString().startsWith(local)) return false;
  const year = new Date(text).getUTCFullYear();
  return year >= 1 && year <= 9999;
}
