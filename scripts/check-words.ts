import { listCheckedFiles, readText } from './word-list/files.ts';
import { findWords } from './word-list/find-words.ts';

/**
 * `npm run check:words`: refuses words of a private vocabulary in the tracked text files below the working directory.
 * Prints `file:line: "word": write ...` for each occurrence, and exits with 1 if there are any.
 */
const root = process.cwd();
const findings = listCheckedFiles(root).flatMap((path) =>
  findWords(readText(root, path) ?? '').map(
    ({ line, found, instead }) => `${path}:${line}: "${found}": write ${instead}\n`,
  ),
);
process.stdout.write(findings.join(''));
if (findings.length > 0) process.exitCode = 1;
