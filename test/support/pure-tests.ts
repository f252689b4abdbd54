import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** Text of a file that uses the run's database server or starts a process. */
const impure = /\binject\b|from 'node:child_process'|embedded-server\.ts'/;
const relativeImport = /\b(?:from|import)\s*\(?\s*'(\.{1,2}\/[^']+\.ts)'/g;

/**
 * Finds the test files that need no database: neither they nor what they import under `test/` uses the server.
 *
 * @returns Paths relative to `root`.
 */
export function findPureTests(root: string): string[] {
  const tests = join(root, 'test');
  const known = new Map<string, boolean>();
  const isPure = (file: string): boolean => {
    const found = known.get(file);
    if (found !== undefined) return found;
    // An import cycle adds nothing to what its other members import.
    known.set(file, true);
    const text = readFileSync(file, 'utf8');
    const imported = [...text.matchAll(relativeImport)].map(([, path = '']) => join(dirname(file), path));
    const pure = !impure.test(text) && imported.filter((path) => path.startsWith(tests)).every(isPure);
    known.set(file, pure);
    return pure;
  };
  return readdirSync(tests, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.ts'))
    .map((path) => join(tests, path))
    .filter(isPure)
    .map((path) => relative(root, path));
}
