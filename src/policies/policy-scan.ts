/**
 * The maximum depth of a statement. Cedar recurses over its syntax tree, and overflows its stack at about 100 chained
 * operators or 70 nested brackets, after which the instance is unusable. This is half of that (a bracket counts
 * twice).
 */
export const maxDepth = 50;

export interface PolicyScan {
  /** Every string in the text that it may compare a fact with, unescaped. */
  literals: Set<string>;
  /** The index of the first statement that is deeper than `maxDepth`. */
  tooDeepAt: number | undefined;
  /** The index of the first template slot (`?principal`). */
  slotAt: number | undefined;
}

// Invariant: strings and comments end exactly where Cedar's own lexer ends them. Otherwise code could be hidden in
// them.
const tokens = /"(?:[^"\\]|\\[^\n])*"|\/\/[^\n\r]*|\?[A-Za-z_]\w*|\w+|::|&&|\|\||[<>=!]=|[^\s\w]/g;
const free = new Set(['then', 'else', 'true', 'false', ':', '::', '@']);
const joins = new Set(['&&', '||', 'if', 'when', 'unless']);
const wordOperators = new Set(['in', 'has', 'like', 'is']);

/** An open bracket, with an upper bound on the depth of the syntax tree within it so far. */
interface Frame {
  joins: number;
  operators: number;
  child: number;
  operand: number;
  deepest: number;
}

const newFrame = (): Frame => ({ joins: 0, operators: 0, child: 0, operand: 0, deepest: 0 });

function endOperand(frame: Frame): void {
  frame.operand = Math.max(frame.operand, frame.operators + frame.child);
  frame.operators = 0;
  frame.child = 0;
}

function endElement(frame: Frame): number {
  endOperand(frame);
  frame.deepest = Math.max(frame.deepest, frame.joins + frame.operand);
  frame.joins = 0;
  frame.operand = 0;
  return frame.deepest;
}

/** Computes an upper bound on the depth of each statement from its tokens. The text need not be well-formed. */
function createDepthMeter() {
  let stack: Frame[] = [newFrame()];
  const top = (): Frame => stack.at(-1) ?? newFrame();
  const close = (): void => {
    const inner = stack.length > 1 ? stack.pop() : undefined;
    if (inner !== undefined) top().child = Math.max(top().child, endElement(inner) + 1);
  };
  return {
    atStatementEnd: (token: string): boolean => token === ';' && stack.length === 1,
    /** Ends a statement and returns its depth. */
    finish(): number {
      while (stack.length > 1) close();
      const depth = endElement(top());
      stack = [newFrame()];
      return depth;
    },
    take(token: string): void {
      const frame = top();
      if (joins.has(token)) {
        endOperand(frame);
        frame.joins += 1;
      } else if (token === ',') endElement(frame);
      else if (')]}'.includes(token)) close();
      else if ('([{'.includes(token)) {
        // The bracket itself counts as an operator too: `a[1][2][3]` is a chain.
        frame.operators += 1;
        stack.push(newFrame());
      } else if (wordOperators.has(token) || !(free.has(token) || /^[\w"]/.test(token))) frame.operators += 1;
    },
  };
}

const escapes: Record<string, string> = { n: '\n', r: '\r', t: '\t', '0': '\0' };

function unescapeLiteral(body: string): string {
  return body.replace(
    /\\(?:u\{([0-9a-fA-F]{1,6})\}|x([0-7][0-9a-fA-F])|(.))/gs,
    (...[whole, long, short, one]) => {
      const code = Number.parseInt(`${long ?? short ?? ''}`, 16);
      if (Number.isNaN(code)) return escapes[`${one}`] ?? `${one}`;
      return code <= 0x10ffff ? String.fromCodePoint(code) : `${whole}`;
    },
  );
}

/** Scans the tokens of Cedar text for what must be checked before Cedar's own parser may safely read it. */
export function scanPolicy(text: string): PolicyScan {
  const scan: PolicyScan = { literals: new Set(), tooDeepAt: undefined, slotAt: undefined };
  const meter = createDepthMeter();
  let begin: number | undefined;
  const finish = (): void => {
    if (meter.finish() > maxDepth) scan.tooDeepAt ??= begin;
    begin = undefined;
  };
  for (const match of text.matchAll(tokens)) {
    const token = match[0];
    if (token.startsWith('//')) continue;
    begin ??= match.index;
    if (token.length > 1 && token.startsWith('"')) scan.literals.add(unescapeLiteral(token.slice(1, -1)));
    else if (token.length > 1 && token.startsWith('?')) scan.slotAt ??= match.index;
    if (meter.atStatementEnd(token)) finish();
    else meter.take(token);
  }
  finish();
  return scan;
}
