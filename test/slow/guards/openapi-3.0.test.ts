import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '../../..');
const spectral = join(root, 'node_modules/@stoplight/spectral-cli/dist/index.js');

// This is not part of `npm run check`, which lints openapi.yaml: openapi-3.0.yaml is generated from it, and each
// document takes seconds.
it('openapi-3.0.yaml passes the OpenAPI rules of spectral', async () => {
  const args = [spectral, 'lint', '--fail-severity=hint', 'openapi-3.0.yaml'];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
  expect(stdout).toContain('No results');
});
