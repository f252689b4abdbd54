import { isCleanText } from '../../platform/text.ts';
import type { Mapping } from '../mapping.ts';
import { TargetFailure } from '../target-failure.ts';
import { harmlessCommands, refusedCategories, refusedCommands } from './refused-commands.ts';

/**
 * What one mapping means: groups of rules. A command is permitted if a single group permits it with all its keys and channels, so
 * a group is what Redis calls a selector.
 */
export interface RuleSet {
  /** The rules as they are written in the mapping. */
  text: string;
  groups: readonly (readonly string[])[];
}

const maxCharacters = 4_096;
const maxRules = 200;

const keyRule = /^(?:~|%R~|%W~|%RW~)[^\s"'()]+$/;
const channelRule = /^&[^\s"'()]+$/;
const commandRule = /^[+-]([a-z0-9][a-z0-9._-]*)(?:\|([a-z0-9][a-z0-9._-]*))?$/i;
const categoryRule = /^([+-])@([a-z0-9_-]+)$/i;

const forms =
  'a rule is a key pattern (~, %R~, %W~), a channel pattern (&), a command (+get, -get, +client|id) or a category (+@read, -@read)';

/** Returns what is wrong with a mapping; undefined if it may be right. What its rules permit, only the target knows. */
export function mappingProblem(mapping: Mapping): string | undefined {
  if (!('rules' in mapping)) return 'a scope of a redis resource maps to rules';
  const parsed = parse(mapping.rules);
  return typeof parsed === 'string' ? parsed : undefined;
}

/** Returns the rules of each mapping. Throws `refused` for a mapping that this engine does not have. */
export function ruleSetsOf(mappings: readonly Mapping[]): RuleSet[] {
  if (mappings.length === 0) throw new TargetFailure('refused', 'an account needs at least one mapping');
  return mappings.map((mapping) => {
    const parsed = 'rules' in mapping ? parse(mapping.rules) : mappingProblem(mapping);
    if (parsed === undefined || typeof parsed === 'string')
      throw new TargetFailure('refused', parsed ?? 'the mapping has no rules');
    return parsed;
  });
}

/**
 * Returns the arguments of ACL SETUSER that give an account without privileges what rule sets say. Several groups become
 * selectors: if they were one list, each command of one mapping would be permitted with the keys of the others.
 */
export function toArguments(sets: readonly RuleSet[]): string[] {
  const groups = sets.flatMap(({ groups }) => groups);
  const [only, ...others] = groups;
  if (only !== undefined && others.length === 0) return [...only];
  // A new selector has all channels if the server is configured so (acl-pubsub-default).
  return groups.map((group) => `(${['resetchannels', ...group].join(' ')})`);
}

/** Reads rules. Returns what is wrong with them as a string. */
function parse(text: string): RuleSet | string {
  if (text.length > maxCharacters) return `rules has at most ${maxCharacters} characters`;
  if (!isCleanText(text)) return 'rules has no control characters';
  if (/[^\s(]\(|\)[^\s)]/.test(text))
    return 'a pattern has no parentheses, and selectors have spaces between them';
  const tokens = text
    .replace(/[()]/g, ' $& ')
    .split(/\s+/)
    .filter((token) => token !== '');
  if (tokens.length > maxRules) return `rules has at most ${maxRules} rules`;
  const groups = readGroups(tokens);
  if (typeof groups === 'string') return groups;
  for (const rule of groups.flat()) {
    const problem = ruleProblem(rule);
    if (problem !== undefined) return problem;
  }
  if (!groups.flat().some((rule) => rule.startsWith('+'))) return 'rules permits no command';
  return { text, groups };
}

/** Divides rules into those outside of parentheses, if there are any, and those of each pair of parentheses. */
function readGroups(tokens: readonly string[]): string[][] | string {
  const outside: string[] = [];
  const selectors: string[][] = [];
  let selector: string[] | undefined;
  for (const token of tokens) {
    if (token === '(') {
      if (selector !== undefined) return 'a selector of the rules is within another one';
      selector = [];
    } else if (token === ')') {
      if (selector === undefined) return 'a parenthesis of the rules has no beginning';
      if (selector.length === 0) return 'a selector of the rules is empty';
      selectors.push(selector);
      selector = undefined;
    } else {
      (selector ?? outside).push(token);
    }
  }
  if (selector !== undefined) return 'a parenthesis of the rules has no end';
  return outside.length === 0 ? selectors : [outside, ...selectors];
}

/** Returns what is wrong with one rule. Everything is refused that has none of the known forms. */
function ruleProblem(rule: string): string | undefined {
  if (keyRule.test(rule) || channelRule.test(rule)) return undefined;
  const [, sign, category = ''] = categoryRule.exec(rule) ?? [];
  if (sign === '-') return undefined;
  if (sign === '+') return reasonText(rule, find(refusedCategories, category.toLowerCase()));
  const [, name, subcommand] = commandRule.exec(rule.toLowerCase()) ?? [];
  if (name === undefined) return `the rule ${quote(rule)} is not allowed: ${forms}`;
  if (rule.startsWith('-')) return undefined;
  const full = subcommand === undefined ? name : `${name}|${subcommand}`;
  if (harmlessCommands.has(full)) return undefined;
  return reasonText(rule, find(refusedCommands, name) ?? find(refusedCommands, full));
}

function find(table: Readonly<Record<string, string>>, name: string): string | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

function reasonText(rule: string, reason: string | undefined): string | undefined {
  return reason === undefined ? undefined : `the rule ${quote(rule)} is not allowed: ${reason}`;
}

/** Quotes a part of a mapping for an error text, in which it must not be long. */
export function quote(text: string): string {
  const longest = 100;
  return JSON.stringify(text.length > longest ? `${text.slice(0, longest)}...` : text);
}
