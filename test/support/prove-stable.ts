import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdtempSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';

/**
 * Runs `npm test` several times in a row and fails if any run does: `npm run test:stable -- 10`. In every second run other
 * processes keep all cores busy. `STABLE_RUNS` is the number of runs where no argument is given.
 */
const runs = Number(process.argv[2] ?? process.env.STABLE_RUNS ?? 10);
if (!Number.isInteger(runs) || runs < 1) throw new Error('the number of runs must be a positive integer');

const root = join(import.meta.dirname, '../..');
const logs = mkdtempSync(join(tmpdir(), 'hallpass-stable-'));

/** A busy loop that ends with this process, even if this process is killed. */
const burn = 'const parent = process.ppid; while (process.ppid === parent);';

function burnCores(): ChildProcess[] {
  return Array.from({ length: availableParallelism() }, () =>
    spawn(process.execPath, ['--eval', burn], { stdio: 'ignore' }),
  );
}

/** Runs `npm test` with its output in `log`; resolves to the exit code. */
async function runTests(log: string): Promise<number | null> {
  const output = createWriteStream(log);
  const child = spawn('npm', ['test'], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.pipe(output, { end: false });
  child.stderr.pipe(output, { end: false });
  const [code] = (await once(child, 'close')) as [number | null];
  output.end();
  await finished(output);
  return code;
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

let failures = 0;
for (let run = 1; run <= runs; run += 1) {
  const isBusy = run % 2 === 0;
  const burners = isBusy ? burnCores() : [];
  const log = join(logs, `${run}.log`);
  const startedMs = performance.now();
  const code = await runTests(log);
  const seconds = Math.round((performance.now() - startedMs) / 1000);
  for (const burner of burners) burner.kill('SIGKILL');
  if (code !== 0) failures += 1;
  const result = code === 0 ? 'passed' : `failed, see ${log}`;
  print(`run ${run} of ${runs}, ${isBusy ? 'busy' : 'quiet'}: ${seconds} s, ${result}`);
}
print(`${runs - failures} of ${runs} runs passed`);
process.exitCode = failures === 0 ? 0 : 1;
