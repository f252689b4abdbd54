/** A PostgreSQL server for the whole run, and how to end it. */
export interface TestServer {
  /** URL of a superuser: it makes roles and databases, nothing that is tested uses it. */
  adminUrl: string;
  stop(): Promise<void>;
}

/** The server that `HALLPASS_TEST_DATABASE_URL` names (a superuser's URL). */
export async function startTestServer(): Promise<TestServer> {
  const adminUrl = process.env.HALLPASS_TEST_DATABASE_URL;
  if (adminUrl === undefined) throw new Error('HALLPASS_TEST_DATABASE_URL is not set');
  return { adminUrl, stop: async () => {} };
}
