import type { TargetProblem } from '../engine.ts';
import { grantStatement, isReplyError } from './failure.ts';
import type { Command } from './link.ts';
import type { Session } from './servers.ts';

/** The commands that the engine needs, with arguments for a trial. */
const needed: readonly Command[] = [
  ['ACL', 'SETUSER', 'x'],
  ['ACL', 'GETUSER', 'x'],
  ['ACL', 'DELUSER', 'x'],
  ['ACL', 'USERS'],
  ['ACL', 'CAT'],
  ['ACL', 'SAVE'],
  ['CLIENT', 'KILL', 'USER', 'x'],
  ['INFO'],
  ['PING'],
];

const denied = /has no permissions to run the/;

/** Whether the reply to ACL DRYRUN says that the user may not run the command at all. */
export const isDenied = (value: unknown): boolean => denied.test(String(value));

/** Returns the commands that the admin account may not run, each with the statement that permits it. */
export async function findMissingPrivileges(session: Session, username: string): Promise<TargetProblem[]> {
  const replies = await session.send(needed.map((command) => ['ACL', 'DRYRUN', username, ...command]));
  const [first] = replies;
  if (isReplyError(first?.error) && denied.test(first.error.message)) {
    return [missingProblem(username, 'acl|dryrun')];
  }
  return needed.flatMap((command, i) =>
    isDenied(replies[i]?.value) ? [missingProblem(username, nameOf(command))] : [],
  );
}

function missingProblem(username: string, name: string): TargetProblem {
  return {
    problem: `the admin account ${username} may not run ${name}`,
    statement: grantStatement(username, name),
  };
}

/** Returns the name of a command as rules have it. */
function nameOf([name, subcommand]: Command): string {
  const isContainer = name === 'ACL' || name === 'CLIENT';
  return (isContainer && subcommand !== undefined ? `${name}|${subcommand}` : name).toLowerCase();
}
