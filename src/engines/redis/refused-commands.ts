/**
 * Commands that no account may have, with the reason. With the name of a command go its subcommands. The categories @admin and
 * @scripting are refused as a whole at the target (`mapping-problems.ts`); what is here is refused without asking it.
 */
export const refusedCommands: Readonly<Record<string, string>> = {
  acl: 'it makes users, and reads the stored passwords of others',
  bgrewriteaof: 'it administers the server',
  bgsave: 'it administers the server',
  'client|kill': 'it ends the sessions of the broker',
  'client|no-evict': 'it administers the server',
  'client|pause': 'it stops the broker from ending the access of accounts',
  'client|unpause': 'it administers the server',
  config: 'it changes the configuration of the server and reads its passwords',
  debug: 'it stops or crashes the server',
  eval: 'a script can stop the server from answering anybody',
  eval_ro: 'a script can stop the server from answering anybody',
  evalsha: 'a script can stop the server from answering anybody',
  evalsha_ro: 'a script can stop the server from answering anybody',
  failover: 'it administers the server',
  fcall: 'a function can stop the server from answering anybody',
  fcall_ro: 'a function can stop the server from answering anybody',
  function: 'it leaves code that others run',
  latency: 'it administers the server',
  migrate: 'it sends data to another server',
  module: 'it loads code into the server',
  monitor: 'it reads the commands of all others',
  pfdebug: 'it administers the server',
  pfselftest: 'it administers the server',
  psync: 'it copies all data',
  replconf: 'it administers the server',
  replicaof: 'it replaces all data by that of another server',
  save: 'it stops the server while it writes all data',
  script: 'it changes and ends the scripts of others',
  shutdown: 'it ends the server',
  slaveof: 'it replaces all data by that of another server',
  slowlog: 'it reads the commands of all others',
  sync: 'it copies all data',
};

/** Subcommands of refused commands that an account may have. */
export const harmlessCommands: ReadonlySet<string> = new Set(['acl|whoami', 'acl|cat', 'acl|genpass']);

/** Categories that no account may have, with the reason. */
export const refusedCategories: Readonly<Record<string, string>> = {
  all: 'it permits every command',
  admin: 'it permits to administer the server',
  dangerous: 'it permits to administer the server',
  scripting: 'a script can stop the server from answering anybody',
};

/**
 * Commands that an account has only if its rules name them, because they are in categories that look harmless, such as @write.
 * Key patterns do not limit the first three. RESTORE reads a binary value, which a client can make to harm the server.
 */
export const namedOnlyCommands: readonly string[] = ['flushall', 'flushdb', 'swapdb', 'restore'];
