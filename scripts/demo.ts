import { seedDemo } from './demo-seed.ts';

/**
 * `npm run demo`: seeds a running broker for the walk in the README and prints the credentials as shell assignments.
 * Reads HALLPASS (the base URL) and ADMIN_KEY from the environment. Exits with 1 and one line on standard error if the
 * broker cannot be reached or refuses a step.
 */
const { HALLPASS: url = 'http://127.0.0.1:8080', ADMIN_KEY: adminKey } = process.env;

try {
  if (adminKey === undefined)
    throw new Error('set ADMIN_KEY to the key that the broker printed at its first start');
  const { agent, resourceServer, approverKey } = await seedDemo({ url, adminKey });
  process.stdout.write(`AGENT=${agent}\nSERVER=${resourceServer}\nAPPROVER_KEY=${approverKey}\n`);
} catch (error) {
  const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : '';
  process.stderr.write(`npm run demo: ${error instanceof Error ? error.message : String(error)}${cause}\n`);
  process.exitCode = 1;
}
