import type { Random } from '../../platform/random.ts';
import type { TargetProblem } from '../engine.ts';
import { isReplyError } from './failure.ts';
import { findMappingProblems } from './mapping-problems.ts';
import { findMissingPrivileges } from './privileges.ts';
import type { RuleSet } from './rules.ts';
import type { Call, Session } from './servers.ts';
import { findUser } from './users.ts';

export interface Question {
  /** The admin account. */
  username: string;
  ruleSets: readonly RuleSet[];
  random: Random;
}

/** Since Redis 7 there are selectors, and the server tells what a user may do (ACL DRYRUN). */
const oldestMajor = 7;

/**
 * Returns what the admin account lacks, and rules that do not exist or give more than access to data, on every server: each
 * with the statement that fixes it, if a single one does.
 */
export async function findProblems(call: Call, question: Question): Promise<TargetProblem[]> {
  const problems = await call.onEach((session) => findOn(session, question));
  const byText = new Map(problems.flat().map((problem) => [problem.problem, problem]));
  return [...byText.values()];
}

async function findOn(session: Session, question: Question): Promise<TargetProblem[]> {
  const version = await readMajor(session);
  if (version !== undefined && version < oldestMajor) {
    return [{ problem: `the server is Redis ${version}; ${oldestMajor} or newer is needed` }];
  }
  const missing = await findMissingPrivileges(session, question.username);
  if (missing.length > 0) return missing;
  return [...(await findOpenDoors(session)), ...(await findMappingProblems(session, question))];
}

/** Returns the major version; undefined if the admin account may not read it. */
async function readMajor(session: Session): Promise<number | undefined> {
  const [reply] = await session.send([['INFO', 'server']]);
  if (isReplyError(reply?.error)) return undefined;
  const [, major] = /^redis_version:(\d+)\./m.exec(String(reply?.value)) ?? [];
  return major === undefined ? undefined : Number(major);
}

/** A server that lets anybody in gives access that no lease ends. */
async function findOpenDoors(session: Session): Promise<TargetProblem[]> {
  const user = await findUser(session, 'default');
  if (user === undefined || !user.isOn || !user.isWithoutPassword) return [];
  return [{ problem: 'the user default needs no password', statement: 'ACL SETUSER default off' }];
}
