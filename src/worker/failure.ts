import { sqlStateOf } from '../db/sqlstate.ts';

const maxLength = 500;

/** What may not stay in a message: credentials in URLs, and anything long enough to be a generated secret or a JWT. */
const secretLike: readonly { pattern: RegExp; instead: string }[] = [
  { pattern: /\/\/[^\s/@]+@/g, instead: '//[redacted]@' },
  { pattern: /\bhp[a-z]_\w+/g, instead: '[redacted]' },
  { pattern: /[\w+/=.-]{32,}/g, instead: '[redacted]' },
];

/** SQLSTATE class 22, data exceptions: their messages repeat the value that was wrong. */
const dataException = '22';

/** An error as one line of at most 500 characters that an admin may read: no secret, no control character. */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return 'something that is not an error was thrown';
  const state = sqlStateOf(error);
  if (state?.startsWith(dataException)) return `SQLSTATE ${state}`;
  let text = state === undefined ? `${error.name}: ${error.message}` : `SQLSTATE ${state}: ${error.message}`;
  for (const { pattern, instead } of secretLike) text = text.replace(pattern, instead);
  return text
    .replace(/\p{Cc}+/gu, ' ')
    .slice(0, maxLength)
    .toWellFormed();
}
