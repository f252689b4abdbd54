import { appendFileSync } from 'node:fs';

/**
 * Remembers that `operation` answered `status`, for the check after the suite that every status which the contract
 * declares was seen. Each pair is written once a process; lines this short are appended whole.
 */
export function recordCoverage(operation: string, status: number): void {
  const file = process.env.HALLPASS_CONTRACT_COVERAGE;
  const pair = `${operation} ${status}`;
  if (file === undefined || seen.has(pair)) return;
  seen.add(pair);
  appendFileSync(file, `${pair}\n`);
}

const seen = new Set<string>();
