import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** Creates a certificate authority that has signed nothing. */
export async function makeAuthority(): Promise<string> {
  const { stdout } = await promisify(execFile)('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
    ...['-keyout', '/dev/null', '-subj', '/CN=another authority', '-days', '1'],
  ]);
  return stdout;
}
