/** A page of a list. */
export interface Page<T> {
  items: T[];
  /** Whether something follows the last item. */
  more: boolean;
}

/** A page of at most `limit` items from `rows`, of which one more than that was asked for. */
export function takePage<T>(rows: T[], limit: number): Page<T> {
  return { items: rows.slice(0, limit), more: rows.length > limit };
}
