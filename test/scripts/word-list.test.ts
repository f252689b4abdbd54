import { describe, expect, it } from 'vitest';
import { findWords } from '../../scripts/word-list/find-words.ts';

/**
 * Joins the parts of a private word. The word must not be written as a whole in this file, because the check reads
 * it.
 */
const word = (...parts: string[]): string => parts.join('');

describe('the word list', () => {
  it('finds a phrase in any case, with the line it begins on', () => {
    const phrase = word('For ', 'ever');
    expect(findWords(`one\n${phrase} gone\n`)).toEqual([
      { line: 2, found: phrase, instead: 'permanently, without limit' },
    ]);
  });

  it.each([
    ['a block comment', '/**\n * It ends for', '\n * ever.\n */'],
    ['line comments', '// It ends for', '\n// ever.'],
    ['SQL comments', '-- It ends for', '\n-- ever.'],
    ['a paragraph', 'It ends for', '\never.'],
  ])('finds a phrase over a line break in %s', (_, ...parts) => {
    expect(findWords(word(...parts)).map(({ found }) => found)).toEqual([word('for ', 'ever')]);
  });

  it.each([
    ['a part of a word', 'amendment, recommend, deadlock, bytes'],
    ['a part of a name', 'for-ever and x-anew-y'],
    ['an ordinary use', 'the record of the failure, out of memory: the process ran out of it, is dead code'],
  ])('does not find %s', (_, text) => {
    expect(findWords(text)).toEqual([]);
  });
});
