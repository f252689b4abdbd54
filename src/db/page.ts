/** A page of a list. */
export interface Page<T> {
  items: T[];
  /** Whether more items follow the last one. */
  more: boolean;
}

/** Returns a page of at most `limit` items. `rows` was queried with `limit + 1`, to see whether more follow. */
export function takePage<T>(rows: T[], limit: number): Page<T> {
  return { items: rows.slice(0, limit), more: rows.length > limit };
}
