import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The newest migration that had been applied to databases before this check existed. */
const lastFrozenMigration = 12;

/** Tracked files that are not checked, each with the reason. */
const exclusions: readonly { pattern: RegExp; why: string }[] = [
  { pattern: /^package-lock\.json$/, why: 'contains names of packages' },
  { pattern: /^LICENSE$/, why: 'is a standard text' },
  {
    pattern: /^(openapi(-3\.0)?\.yaml|src\/openapi\.json)$|\.gen\.ts$/,
    why: 'is generated from checked files',
  },
  { pattern: /^scripts\/word-list\//, why: 'contains the list of words' },
];

function isFrozenMigration(path: string): boolean {
  const [, number] = /^migrations\/(\d{4})_.*\.sql$/.exec(path) ?? [];
  return number !== undefined && Number(number) <= lastFrozenMigration;
}

/**
 * Lists the files that the check reads: the files that git tracks below `root`, except for the exclusions and for the old
 * migrations, which must not change any more.
 *
 * @throws If `root` is not in a git work tree.
 */
export function listCheckedFiles(root: string): string[] {
  return execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
    .split('\0')
    .filter((path) => path !== '' && !isFrozenMigration(path))
    .filter((path) => !exclusions.some(({ pattern }) => pattern.test(path)));
}

/** Reads a text file. Returns undefined if it is binary, or deleted in the work tree. */
export function readText(root: string, path: string): string | undefined {
  try {
    const text = readFileSync(join(root, path), 'utf8');
    return text.includes('\0') ? undefined : text;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
