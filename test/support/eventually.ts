const intervalMs = 20;
const attemptsPerSecond = 1000 / intervalMs;

/**
 * Repeats `check` until it no longer throws, for `seconds` or slightly longer. For effects that other sessions of
 * the server may delay, such as events that become visible when every older transaction of the server has ended.
 */
export async function eventually<T>(check: () => Promise<T>, { seconds = 60 } = {}): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await check();
    } catch (error) {
      if (attempt >= seconds * attemptsPerSecond) throw error;
      await new Promise((resolve) => setTimeout(resolve, intervalMs));
    }
  }
}
