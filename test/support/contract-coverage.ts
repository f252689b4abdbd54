import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { type OperationEntry, readContract } from '../../src/http/contract.ts';

/**
 * Remembers that `operation` answered `status`, for the check after the suite that every status which the contract
 * declares was seen. Each pair is written once a process; lines this short are appended whole.
 */
export function recordCoverage(operation: string, status: number): void {
  const file = process.env.HALLPASS_CONTRACT_COVERAGE;
  const pair = `${operation} ${status}`;
  if (file === undefined || recorded.has(pair)) return;
  recorded.add(pair);
  appendFileSync(file, `${pair}\n`);
}

const recorded = new Set<string>();

/** What any operation may answer without saying so: no such method, gone away, a mistake of ours. */
const undeclared: ReadonlySet<number> = new Set([405, 499, 500]);

/** What the contract and the answers that were seen (`operation status` each) disagree about, one line for each pair. */
export function disagreements(
  operations: readonly Pick<OperationEntry, 'id' | 'statuses'>[],
  seen: ReadonlySet<string>,
): string[] {
  const declared = operations.flatMap(({ id, statuses }) => statuses.map((status) => `${id} ${status}`));
  const missing = declared.filter((pair) => !seen.has(pair)).map((pair) => `never answered: ${pair}`);
  const extra = [...seen].filter((pair) => {
    const [id, status] = pair.split(' ');
    const known = operations.some((operation) => operation.id === id);
    return known && !declared.includes(pair) && !undeclared.has(Number(status));
  });
  return [...missing, ...extra.map((pair) => `not in the contract: ${pair}`)].sort();
}

/** Whether every test of every file was run, and none failed. */
async function isWholeSuite(project: TestProject): Promise<boolean> {
  const { vitest } = project;
  const files = vitest.state.getFiles();
  const ran = new Set(files.map(({ filepath }) => filepath));
  const { testFiles } = await project.globTestFiles();
  const filtered = vitest.config.testNamePattern !== undefined;
  return (
    !filtered &&
    testFiles.every((file) => ran.has(file)) &&
    files.every(({ result }) => result?.state !== 'fail')
  );
}

/** Starts to collect what the brokers of all test processes answer; the returned function checks and throws. */
export function collectCoverage(project: TestProject): () => Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'hallpass-coverage-'));
  const file = join(directory, 'seen');
  writeFileSync(file, '');
  process.env.HALLPASS_CONTRACT_COVERAGE = file;
  return async () => {
    const seen = new Set(readFileSync(file, 'utf8').split('\n').filter(Boolean));
    rmSync(directory, { recursive: true });
    if (!(await isWholeSuite(project))) return;
    const found = disagreements(readContract().operations, seen);
    if (found.length === 0) return;
    // An error at this point is printed, but does not fail the run.
    process.exitCode = 1;
    throw new Error(`openapi.yaml and what the tests saw disagree:\n${found.join('\n')}`);
  };
}
