/** A fenced code block. */
export interface Block {
  language: string;
  text: string;
  /** The number of its first line of text. Starts at 1. */
  line: number;
}

/** Returns the fenced code blocks of a Markdown text, in order. */
export function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = [];
  let open: Block | undefined;
  for (const [index, line] of markdown.split('\n').entries()) {
    const fence = /^```(\w*)$/.exec(line);
    if (fence === null) {
      if (open !== undefined) open.text += `${line}\n`;
    } else if (open === undefined) {
      open = { language: fence[1] ?? '', text: '', line: index + 2 };
    } else {
      blocks.push(open);
      open = undefined;
    }
  }
  if (open !== undefined) throw new Error(`the block at line ${open.line} is never closed`);
  return blocks;
}

/**
 * Returns the section under `## heading`, after as many empty lines as precede it in the file, so that line numbers
 * stay the same.
 */
export function sectionOf(markdown: string, heading: string): string {
  const lines = markdown.split('\n');
  const begin = lines.indexOf(`## ${heading}`);
  if (begin === -1) throw new Error(`there is no section "${heading}"`);
  const length = lines.slice(begin + 1).findIndex((line) => line.startsWith('## '));
  const end = length === -1 ? lines.length : begin + 1 + length;
  return [...Array.from({ length: begin }, () => ''), ...lines.slice(begin, end)].join('\n');
}

/** Whether `actual` matches `expected`, line by line; `...` stands for any text within a line. */
export function matches(expected: string, actual: string): boolean {
  const pattern = expected
    .trimEnd()
    .split('...')
    .map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
    .join('.+');
  return new RegExp(`^${pattern}$`).test(actual.trimEnd());
}
