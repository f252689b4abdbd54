/** RabbitMQ stores patterns of any length and runs them for every new name, so they must stay short. */
const maxLength = 500;

const escaped = String.raw`\\(?:[dDwWsSbB]|[^a-zA-Z0-9])`;
const characterClass = String.raw`\[\^?(?:${escaped}|[^\\\[\]])+\]`;
const groupStart = String.raw`\((?:\?[:=!])?(?![?*])`;
/**
 * What JavaScript and PCRE, which RabbitMQ uses, understand alike. Without back references, comments, options and verbs, so that
 * a pattern means the same as a part of a longer one.
 */
const common = new RegExp(`^(?:${escaped}|${characterClass}|${groupStart}|[^\\\\\\[\\]()]|\\))*$`);

/**
 * Returns what is wrong with a regular expression; undefined if it may be used. A pattern that takes long is not refused: PCRE
 * gives up after a number of steps, and then RabbitMQ permits nothing.
 */
export function patternProblem(pattern: string): string | undefined {
  if (pattern.length > maxLength) return `a pattern has at most ${maxLength} characters`;
  // RabbitMQ compares bytes, so any other character would be several.
  if (!/^[\x20-\x7e]*$/.test(pattern)) return 'a pattern has only printable ASCII characters';
  if (!common.test(pattern)) {
    return 'a pattern has only groups of the forms (, (?:, (?= and (?!, and only the escapes \\d \\w \\s \\b and of punctuation';
  }
  try {
    new RegExp(pattern);
    return undefined;
  } catch {
    return 'a pattern is not a regular expression';
  }
}

/** Returns a pattern that matches what one of `patterns` matches. An empty pattern matches nothing. */
export function anyOf(patterns: readonly string[]): string {
  const different = [...new Set(patterns)].filter((pattern) => pattern !== '');
  const [only = '', ...others] = different;
  return others.length === 0 ? only : different.map((pattern) => `(?:${pattern})`).join('|');
}
