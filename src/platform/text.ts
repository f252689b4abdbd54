const lineControls: readonly number[] = [0x09, 0x0a, 0x0d];

/**
 * Whether `text` is well-formed Unicode without control characters (C0 and DEL); tabs and line breaks are allowed if
 * `multiline`. Cedar throws on lone surrogates, and PostgreSQL refuses NUL.
 */
export function isCleanText(text: string, multiline = false): boolean {
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit === 0x7f || (unit < 0x20 && !(multiline && lineControls.includes(unit)))) return false;
  }
  return text.isWellFormed();
}
