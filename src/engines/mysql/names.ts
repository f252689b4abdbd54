import mysql from 'mysql2';

/** No account name has a dot, so that no role of an account has the name of an account. */
export const roleSuffix = '.role';

/** Every account is valid from all hosts, so that its name alone identifies it. */
export const anyHost = '%';

/** Writes a string as a literal. The sessions of this engine have an SQL mode with backslash escapes. */
export const literal = (text: string): string => mysql.escape(text);

/** Writes the name of a role as a quoted identifier. */
export const quoteRole = (name: string): string => mysql.escapeId(name, true);

/** Writes the account of a name, for statements. */
export function quoteAccount(name: string, host = anyHost): string {
  return `${literal(name)}@${literal(host)}`;
}

/** Returns the name of the role that an account has, and nobody else. */
export function roleNameOf(account: string): string {
  return account + roleSuffix;
}
