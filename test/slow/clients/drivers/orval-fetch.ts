/** The address of the broker and the credential, which orval expects from a function of its user, like the one below. */
const context = { baseUrl: '' };

export function setBaseUrl(url: string): void {
  context.baseUrl = url;
}

export async function orvalFetch<T>(path: string, init: RequestInit): Promise<T> {
  const response = await fetch(`${context.baseUrl}${path}`, init);
  const text = await response.text();
  const data: unknown = text === '' ? undefined : JSON.parse(text);
  return { data, status: response.status, headers: response.headers } as T;
}
