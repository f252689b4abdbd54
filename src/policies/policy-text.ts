import { type CedarError, instantiateCedar } from './cedar.ts';
import { maxDepth, scanPolicy } from './policy-scan.ts';
import { policySchema } from './schema.ts';

/** The longest policy text, in bytes of UTF-8. */
export const maxPolicyBytes = 65_536;

const maxErrors = 20;

export interface PolicyTextError {
  message: string;
  /** The line, counted from 1. */
  line: number;
  /** The column in UTF-16 code units, counted from 1. */
  column?: number;
}

export type PolicyTextResult = { ok: true; statements: number } | { ok: false; errors: PolicyTextError[] };

const positionAt = (text: string, index: number): { line: number; column: number } => {
  const before = text.slice(0, index).split(/\r\n|\r|\n/);
  return { line: before.length, column: (before.at(-1) ?? '').length + 1 };
};

const refused = (
  message: string,
  position: { line: number; column?: number } = { line: 1 },
): PolicyTextResult => ({
  ok: false,
  errors: [{ message, ...position }],
});

/**
 * Finds the problems that must be caught before Cedar parses the text, because its parser would crash or would accept
 * it.
 */
function precheck(text: string): PolicyTextResult | undefined {
  if (Buffer.byteLength(text) > maxPolicyBytes)
    return refused(`The text is longer than ${maxPolicyBytes} bytes`);
  const hidden = /[\p{Surrogate}\0\u202a-\u202e\u2066-\u2069]/u.exec(text);
  if (hidden !== null) {
    return refused(
      'The text contains a lone surrogate, a NUL or a bidirectional control',
      positionAt(text, hidden.index),
    );
  }
  const scan = scanPolicy(text);
  if (scan.tooDeepAt !== undefined) {
    const advice = 'use a set with contains, or several statements';
    return refused(
      `The statement nests or chains more than ${maxDepth} operators; ${advice}`,
      positionAt(text, scan.tooDeepAt),
    );
  }
  if (scan.slotAt !== undefined) return refused('Templates are not supported', positionAt(text, scan.slotAt));
  return undefined;
}

/** Removes the generated statement names from Cedar's messages. */
const readable = (text: string): string =>
  text.replace(/failed to parse policies from string: |for policy `policy\d+`, /g, '');

function describe(error: CedarError): string {
  const hints = [error.sourceLocations?.[0]?.label, error.help].filter((hint) => hint != null && hint !== '');
  return readable(hints.length === 0 ? error.message : `${error.message} (${hints.join('; ')})`);
}

/** Converts the position of an error from Cedar's UTF-8 byte offset to a line and column. */
function locate(text: string, error: CedarError): PolicyTextError {
  const start = error.sourceLocations?.[0]?.start;
  if (start === undefined) return { message: describe(error), line: 1 };
  const index = Buffer.from(text).subarray(0, start).toString().length;
  return { message: describe(error), ...positionAt(text, index) };
}

const withRelated = (error: CedarError): CedarError[] => [
  error,
  ...(error.related ?? []).flatMap(withRelated),
];

/**
 * Checks whether `text` is a valid policy: Cedar, strictly valid against the schema, at least one statement, no
 * templates, at most 64 kB, and not too deep to evaluate. Returns the position of each error (at most 20). Uses a
 * Cedar instance of its own, so that no text can affect decisions (10 to 40 ms).
 */
export function validatePolicyText(text: string): PolicyTextResult {
  const early = precheck(text);
  if (early !== undefined) return early;
  try {
    const cedar = instantiateCedar();
    const answer = cedar.validate({ schema: policySchema, policies: { staticPolicies: text } });
    const errors =
      answer.type === 'failure' ? answer.errors : answer.validationErrors.map((found) => found.error);
    if (errors.length > 0) {
      const located = errors.flatMap(withRelated).map((error) => locate(text, error));
      return { ok: false, errors: located.slice(0, maxErrors) };
    }
    const parts = cedar.policySetTextToParts(text);
    const statements = parts.type === 'success' ? parts.policies.length : 0;
    return statements > 0 ? { ok: true, statements } : refused('The text contains no policy statement');
  } catch {
    return refused('The text is too complex to evaluate');
  }
}
