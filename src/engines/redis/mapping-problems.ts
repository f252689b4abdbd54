import type { Random } from '../../platform/random.ts';
import type { TargetProblem } from '../engine.ts';
import type { Command, Reply } from './link.ts';
import { isDenied } from './privileges.ts';
import { namedOnlyCommands, refusedCategories, refusedCommands } from './refused-commands.ts';
import { quote, type RuleSet, toArguments } from './rules.ts';
import type { Session } from './servers.ts';

/** The categories of which no account may have a command. The server tells what is in them. */
const refusedWhole = ['admin', 'scripting'] as const;
/** Refused commands that are in none of these categories. */
const refusedBeside = ['migrate', 'psync', 'sync'] as const;
const mostArguments = 8;
const mostListed = 10;

const unknownRule = /Unknown command or category/;
const notFound = /not found/;

/** A command that rules must not permit. */
interface Trial {
  /** The category or the command for which it is refused. */
  group: string;
  name: string;
  /** The command with as many arguments as it takes. */
  words: readonly string[];
}

/**
 * Returns rules that do not exist in a server, and commands that rules permit although no account may have them. Asks the server
 * itself: it makes a user that is off and has no password, tries the commands as this user, and removes it, all in one message.
 */
export async function findMappingProblems(
  session: Session,
  { ruleSets, random }: { ruleSets: readonly RuleSet[]; random: Random },
): Promise<TargetProblem[]> {
  const nextProbe = (): string => `hallpass_probe_${random.bytes(8).toString('hex')}`;
  const trials = await listTrials(session, nextProbe());
  const problems: TargetProblem[] = [];
  for (const ruleSet of ruleSets) {
    const probe = nextProbe();
    const unknown = await findUnknown(session, probe, ruleSet);
    problems.push(
      ...(unknown.length > 0 ? unknown : await findPermitted(session, { probe, ruleSet, trials })),
    );
  }
  return problems;
}

async function listTrials(session: Session, probe: string): Promise<Trial[]> {
  const lists = await session.ask(refusedWhole.map((category) => ['ACL', 'CAT', category]));
  const inCategories = refusedWhole.flatMap((group, i) =>
    (lists[i] as string[]).map((name) => ({ group, name: name.toLowerCase() })),
  );
  const others = [...refusedBeside, ...namedOnlyCommands].map((name) => ({ group: name, name }));
  return addArguments(session, { probe, commands: [...inCategories, ...others] });
}

/** Finds how many arguments each command takes: the server checks their number before the privilege. */
async function addArguments(
  session: Session,
  { probe, commands }: { probe: string; commands: readonly Omit<Trial, 'words'>[] },
): Promise<Trial[]> {
  const found: Trial[] = [];
  let left = commands.map((command): Trial => ({ ...command, words: command.name.split('|') }));
  for (let count = 0; count <= mostArguments && left.length > 0; count += 1) {
    const trials = left.map(({ name, ...rest }) => ({
      ...rest,
      name,
      words: [...name.split('|'), ...Array<string>(count).fill('1')],
    }));
    const answers = (await tryAll(session, { probe, rules: [], trials })).answers;
    found.push(...trials.filter((_, i) => isDenied(answers[i])));
    left = left.filter((_, i) => !isDenied(answers[i]) && !notFound.test(answers[i] ?? ''));
  }
  // Without a known number, a trial is answered with an error, which counts as a permission.
  return [...found, ...left];
}

/** Makes a user with rules, tries commands as this user, and removes it, in one message. */
async function tryAll(
  session: Session,
  { probe, rules, trials }: { probe: string; rules: readonly string[]; trials: readonly Trial[] },
): Promise<{ refusal: string | undefined; answers: string[] }> {
  const [made, ...replies] = await session.send([
    ['ACL', 'SETUSER', probe, 'reset', 'resetchannels', ...rules],
    ...trials.map(({ words }): Command => ['ACL', 'DRYRUN', probe, ...words]),
    ['ACL', 'DELUSER', probe],
  ]);
  return { refusal: made?.error?.message, answers: replies.slice(0, trials.length).map(textOf) };
}

const textOf = ({ value, error }: Reply): string => error?.message ?? String(value);

async function findUnknown(session: Session, probe: string, { groups }: RuleSet): Promise<TargetProblem[]> {
  const rules = [...new Set(groups.flat().filter((rule) => /^[+-]/.test(rule)))];
  const replies = await session.send([
    ...rules.map((rule): Command => ['ACL', 'SETUSER', probe, rule]),
    ['ACL', 'DELUSER', probe],
  ]);
  return rules.flatMap((rule, i) => {
    const message = replies[i]?.error?.message;
    if (message === undefined) return [];
    if (!unknownRule.test(message))
      return [{ problem: `the server refuses the rule ${quote(rule)}: ${message}` }];
    const what = rule.startsWith('@', 1) ? 'category' : 'command';
    return [{ problem: `the ${what} ${rule.slice(1).toLowerCase()} does not exist` }];
  });
}

async function findPermitted(
  session: Session,
  { probe, ruleSet, trials }: { probe: string; ruleSet: RuleSet; trials: readonly Trial[] },
): Promise<TargetProblem[]> {
  const { refusal, answers } = await tryAll(session, { probe, rules: toArguments([ruleSet]), trials });
  const rules = `the rules ${quote(ruleSet.text)}`;
  if (refusal !== undefined) return [{ problem: `the server refuses ${rules}: ${refusal}` }];
  // Every other answer counts as a permission.
  const permitted = trials.filter(({ name }, i) => !isDenied(answers[i]) || isNamed(ruleSet, name));
  return describePermitted(
    rules,
    permitted.filter(({ name }) => !(namedOnlyCommands.includes(name) && isNamed(ruleSet, name))),
  );
}

/**
 * Whether rules name a command, with or without a first argument. Redis takes `+debug|sleep` as DEBUG with this argument only,
 * which a trial with another argument does not show.
 */
function isNamed({ groups }: RuleSet, name: string): boolean {
  return groups.flat().some((rule) => {
    const lower = rule.toLowerCase();
    return lower === `+${name}` || lower.startsWith(`+${name}|`);
  });
}

function describePermitted(rules: string, permitted: readonly Trial[]): TargetProblem[] {
  const groups = new Map<string, string[]>();
  for (const { group, name } of permitted) groups.set(group, [...(groups.get(group) ?? []), name]);
  return [...groups].map(([group, names]) => {
    const listed = names.sort().slice(0, mostListed).join(', ');
    const more = names.length > mostListed ? ` and ${names.length - mostListed} others` : '';
    return { problem: `${rules} permit ${listed}${more}: ${reasonOf(group)}` };
  });
}

function reasonOf(group: string): string {
  if (Object.hasOwn(refusedCategories, group)) {
    return `no account may have commands of @${group}; add -@${group} at the end`;
  }
  if (namedOnlyCommands.includes(group)) return `add -${group} at the end, or +${group} if that is meant`;
  return `${refusedCommands[group] ?? 'no account may have it'}; add -${group} at the end`;
}
