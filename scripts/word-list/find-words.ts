import { privateWords } from './words.ts';

export interface Finding {
  /** The line number, counted from 1. */
  line: number;
  found: string;
  instead: string;
}

/** White space, with a line break and the comment mark that may follow it. */
const gap = String.raw`(?:[ \t]+|[ \t]*\n[ \t]*(?:\*|//|--|#|>)?[ \t]*)`;

const matchers = privateWords.map(({ pattern, instead }) => ({
  // A lookbehind and a lookahead instead of \b, so that `for ever` is not found in `x-for ever-y`.
  expression: new RegExp(String.raw`(?<![\w-])(?:${pattern.replaceAll(' ', gap)})(?![\w-])`, 'gi'),
  instead,
}));

/** Finds the private words in a text, in the order of the text. */
export function findWords(text: string): Finding[] {
  return matchers
    .flatMap(({ expression, instead }) =>
      [...text.matchAll(expression)].map((match) => ({ index: match.index, found: match[0], instead })),
    )
    .toSorted((a, b) => a.index - b.index)
    .map(({ index, found, instead }) => ({
      line: text.slice(0, index).split('\n').length,
      found: found.replaceAll(/\s*\n\s*(?:\*|\/\/|--|#|>)?\s*/g, ' '),
      instead,
    }));
}
