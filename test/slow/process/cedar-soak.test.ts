import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);
const longestMs = 300_000;
const child = (file: string, ...args: string[]) =>
  run(process.execPath, ['--import', 'tsx', join(import.meta.dirname, file), ...args], {
    cwd: join(import.meta.dirname, '../../..'),
    timeout: longestMs,
  });

describe('Cedar inside the process', { timeout: longestMs }, () => {
  it('survives a busy request handler, and always decides correctly', async () => {
    const { stdout } = await child('cedar-soak.child.ts', '5000');
    const { decisions, wrong } = JSON.parse(stdout) as { decisions: number; wrong: number };
    expect(wrong).toBe(0);
    expect(decisions).toBeGreaterThanOrEqual(5_000);
  });

  it('is compiled only after a flag that keeps V8 from inlining calls into WebAssembly', async () => {
    const { stdout } = await child('cedar-load-order.child.ts');
    expect(JSON.parse(stdout)).toEqual(['--no-turbo-inline-js-wasm-calls', 'imported', 'compile']);
  });
});
