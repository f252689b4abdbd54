import type { FoundAccount } from '../engine.ts';
import type { Call, Session } from './servers.ts';

/** A user as ACL GETUSER describes it. */
export interface User {
  isOn: boolean;
  isWithoutPassword: boolean;
  /** SHA-256 digests in hexadecimal digits. */
  digests: readonly string[];
  commands: string;
  keys: string;
}

/** Finds a user by name; undefined if there is none. */
export async function findUser(session: Session, name: string): Promise<User | undefined> {
  const [value] = await session.ask([['ACL', 'GETUSER', name]]);
  return toUser(value);
}

/** Converts the reply to ACL GETUSER: a list of names and values, or null. */
export function toUser(reply: unknown): User | undefined {
  if (!Array.isArray(reply)) return undefined;
  const fields = new Map<string, unknown>();
  for (let i = 0; i + 1 < reply.length; i += 2) fields.set(String(reply[i]), reply[i + 1]);
  const flags = toTexts(fields.get('flags'));
  return {
    isOn: flags.includes('on'),
    isWithoutPassword: flags.includes('nopass'),
    digests: toTexts(fields.get('passwords')),
    commands: String(fields.get('commands')),
    keys: String(fields.get('keys')),
  };
}

const toTexts = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : []);

/** Whether a password lets the user in. */
export const canLogIn = ({ isOn, isWithoutPassword, digests }: User): boolean =>
  isOn && (isWithoutPassword || digests.length > 0);

/** Finds the users of all servers whose name begins with `prefix`. One can log in if it can on a single server. */
export async function listAccounts(call: Call, prefix: string): Promise<FoundAccount[]> {
  const found = new Map<string, FoundAccount>();
  for (const accounts of await call.onEach((session) => listOn(session, prefix))) {
    for (const account of accounts) {
      const other = found.get(account.name);
      found.set(account.name, { ...account, canLogIn: account.canLogIn || other?.canLogIn === true });
    }
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function listOn(session: Session, prefix: string): Promise<FoundAccount[]> {
  const [all] = await session.ask([['ACL', 'USERS']]);
  const names = toTexts(all).filter((name) => name.startsWith(prefix));
  const replies = await session.ask(names.map((name) => ['ACL', 'GETUSER', name]));
  return replies.flatMap((reply, i) => {
    const user = toUser(reply);
    // A user can be removed between the two commands.
    return user === undefined ? [] : [{ name: names[i] ?? '', canLogIn: canLogIn(user), expiresAt: null }];
  });
}
