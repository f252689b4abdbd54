const intervalMs = 20;
const attemptsPerSecond = 1000 / intervalMs;

/**
 * Repeats `check` until it throws no more, for `seconds` or a little longer: for what other sessions of the same
 * server may delay, such as events that become visible when every older transaction of the server has ended.
 */
export async function eventually<T>(check: () => Promise<T>, { seconds = 10 } = {}): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await check();
    } catch (error) {
      if (attempt >= seconds * attemptsPerSecond) throw error;
      await new Promise((resolve) => setTimeout(resolve, intervalMs));
    }
  }
}
