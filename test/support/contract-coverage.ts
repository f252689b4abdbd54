import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { type OperationEntry, readContract } from '../../src/http/contract.ts';

/**
 * Records that `operation` returned `status`, for the check after the suite that every declared
 * status was seen. Each process writes each pair once; lines this short are appended atomically.
 */
export function recordCoverage(operation: string, status: number): void {
  const file = process.env.HALLPASS_CONTRACT_COVERAGE;
  const pair = `${operation} ${status}`;
  if (file === undefined || recorded.has(pair)) return;
  recorded.add(pair);
  appendFileSync(file, `${pair}\n`);
}

const recorded = new Set<string>();

/** The statuses that any operation may return undeclared: method not allowed, client gone, internal error. */
const undeclared: ReadonlySet<number> = new Set([405, 499, 500]);

/** Lists the differences between the contract and the seen pairs (`operation status`), one line for each pair. */
export function disagreements(
  operations: readonly Pick<OperationEntry, 'id' | 'statuses'>[],
  seen: ReadonlySet<string>,
): string[] {
  const declared = operations.flatMap(({ id, statuses }) => statuses.map((status) => `${id} ${status}`));
  const missing = declared.filter((pair) => !seen.has(pair)).map((pair) => `never returned: ${pair}`);
  const extra = [...seen].filter((pair) => {
    const [id, status] = pair.split(' ');
    const known = operations.some((operation) => operation.id === id);
    return known && !declared.includes(pair) && !undeclared.has(Number(status));
  });
  return [...missing, ...extra.map((pair) => `not in the contract: ${pair}`)].sort();
}

/** Whether every test of every file has run and none has failed. */
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

/** Starts to collect the statuses of all test processes. The returned function checks them and throws. */
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
    throw new Error(`openapi.yaml and the statuses seen in tests differ:\n${found.join('\n')}`);
  };
}
