const intervalMs = 20;
const attempts = 500;

/**
 * Repeats `check` until it throws no more, for up to 10 s: for what other sessions of the same server may delay, such as
 * events that become visible when every older transaction of the server has ended.
 */
export async function eventually<T>(check: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await check();
    } catch (error) {
      if (attempt === attempts) throw error;
      await new Promise((resolve) => setTimeout(resolve, intervalMs));
    }
  }
}
