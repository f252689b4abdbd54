import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);
const child = (file: string, ...args: string[]) =>
  run(process.execPath, ['--import', 'tsx', join(import.meta.dirname, file), ...args], {
    cwd: join(import.meta.dirname, '../..'),
    timeout: 25_000,
  });

describe('Cedar inside the process', () => {
  it('survives a busy request handler and decides rightly all along', async () => {
    const { stdout } = await child('soak.child.ts', '5');
    const { decisions, wrong } = JSON.parse(stdout) as { decisions: number; wrong: number };
    expect(wrong).toBe(0);
    expect(decisions).toBeGreaterThan(500);
  });

  it('is compiled only after V8 was told not to inline calls into wasm', async () => {
    const { stdout } = await child('load-order.child.ts');
    expect(JSON.parse(stdout)).toEqual(['--no-turbo-inline-js-wasm-calls', 'imported', 'compile']);
  });
});
