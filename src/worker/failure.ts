import { sqlStateOf } from '../db/sqlstate.ts';

const maxLength = 500;

/**
 * The parts of a message that are redacted: credentials in URLs, and strings as long as a generated secret or a JWT.
 */
const secretLike: readonly { pattern: RegExp; instead: string }[] = [
  { pattern: /\/\/[^\s/@]+@/g, instead: '//[redacted]@' },
  { pattern: /\bhp[a-z]_\w+/g, instead: '[redacted]' },
  { pattern: /[\w+/=.-]{32,}/g, instead: '[redacted]' },
];

/** SQLSTATE class 22, data exceptions: their messages contain the invalid value. */
const dataException = '22';

/**
 * Formats an error as one line of at most 500 characters that is safe to show to an admin: without secrets and
 * control characters.
 */
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
