import { Socket } from 'node:net';
import { assertBefore } from '../../src/engines/deadline.ts';
import type { Engine, FoundAccount, NewAccount, Target, TargetOptions } from '../../src/engines/engine.ts';
import type { Engines } from '../../src/engines/engines.ts';
import type { Mapping } from '../../src/engines/mapping.ts';
import { TargetFailure } from '../../src/engines/target-failure.ts';
import { engineKinds } from '../../src/engines/terms.ts';
import type { Clock } from '../../src/platform/clock.ts';
import { createSystemRandom } from '../../src/platform/random.ts';

type CallName = Exclude<keyof Target, 'close'>;

/** What goes wrong at a fake server until a test changes it. */
export interface Faults {
  isUnreachable: boolean;
  /** Every call waits for it. */
  hold: Promise<void>;
  /** The calls for which the admin account lacks a privilege. */
  missingPrivilege: Set<CallName>;
  /** Calls go on after their login when this resolves. */
  holdAfterLogin: Promise<void>;
  /** Called before a call fails because the server cannot be reached. */
  onUnreachable: () => void;
  /** The calls after whose effect the connection is lost. */
  lostAfter: Set<CallName>;
  /** The accounts whose end, of all calls to a target that is well, fails. */
  stuck: Map<string, TargetFailure>;
  /** The calls that report success and do nothing. */
  withoutEffect: Set<CallName>;
  /** Whether the server does not compare passwords of accounts. */
  acceptsAnyPassword: boolean;
}

interface Session {
  isOpen: boolean;
}

interface Account extends FoundAccount {
  password: string;
  /** The roles that it is a member of. */
  roles: string[];
  sessions: Session[];
  /** The objects that it owns. Tests add to them. */
  owns: string[];
}

/** A target in memory. */
export interface FakeServer {
  /** The names of its roles: mappings to others are problems. */
  roles: Set<string>;
  accounts: Map<string, Account>;
  faults: Faults;
  adminPassword: string;
  /** The passwords of admin accounts that have another one, by their names. */
  ownPasswords: Map<string, string>;
  /** The calls so far, in order. */
  calls: CallName[];
}

export function createFakeServer(adminPassword: string): FakeServer {
  return {
    roles: new Set(['reader', 'writer']),
    accounts: new Map(),
    faults: {
      isUnreachable: false,
      hold: Promise.resolve(),
      holdAfterLogin: Promise.resolve(),
      onUnreachable: () => {},
      missingPrivilege: new Set(),
      lostAfter: new Set(),
      stuck: new Map(),
      withoutEffect: new Set(),
      acceptsAnyPassword: false,
    },
    adminPassword,
    ownPasswords: new Map(),
    calls: [],
  };
}

/** Returns the options with which the target is opened by its admin account `admin`. */
export function fakeTargetOptions(clock: Clock): TargetOptions {
  const address = { host: 'target.test', port: 4321 };
  return {
    connection: {
      ...address,
      username: 'admin',
      password: 'admin',
      tls: { mode: 'off' },
      replicas: [],
      endpoint: address,
      ownedObjects: 'keep',
    },
    createSocket: () => new Socket(),
    maxConnections: 4,
    timeoutMs: 1_000,
    clock,
    random: createSystemRandom(),
  };
}

/** Creates an engine whose only target is `server`, on every host and port except port 1. */
export function createFakeEngine(server: FakeServer): Engine {
  return {
    fence: 'valid_until',
    defaultPort: 4321,
    mappingProblem: (mapping) => ('roles' in mapping ? undefined : 'a scope maps to roles'),
    open: (options) => openFakeTarget(server, options),
  };
}

/** Returns the fake as the engine of every kind of target. */
export function fakeEngines(server: FakeServer): Engines {
  const engine = createFakeEngine(server);
  return Object.fromEntries(engineKinds.map((kind) => [kind, engine])) as Engines;
}

function openFakeTarget(server: FakeServer, options: TargetOptions): Target {
  const { accounts, faults } = server;
  let adminPassword = options.connection.password;

  async function run<T>(name: CallName, effect: () => T): Promise<T> {
    server.calls.push(name);
    await faults.hold;
    if (faults.isUnreachable || options.connection.port === 1) {
      faults.onUnreachable();
      throw new TargetFailure('unreachable', 'connection refused');
    }
    const expected = server.ownPasswords.get(options.connection.username) ?? server.adminPassword;
    if (name !== 'holdSession' && adminPassword !== expected) {
      throw new TargetFailure('login-refused', 'wrong password');
    }
    if (faults.missingPrivilege.has(name)) {
      throw new TargetFailure('missing-privilege', `not permitted: ${name}`, { statement: `ALLOW ${name}` });
    }
    await faults.holdAfterLogin;
    const result = effect();
    if (faults.lostAfter.has(name)) throw new TargetFailure('unreachable', 'connection lost');
    return result;
  }
  /** Runs `change` on an account, unless it is not there or the call is without effect. */
  const change = (name: CallName, account: string, effect: (found: Account) => void): void => {
    const failure = faults.stuck.get(account);
    if (failure !== undefined) throw failure;
    const found = accounts.get(account);
    if (found !== undefined && !faults.withoutEffect.has(name)) effect(found);
  };

  return {
    create: (account) => run('create', () => makeAccount(server, account, options)),
    renew: ({ name, expiresAt }) =>
      run('renew', () => {
        if (!accounts.has(name)) throw new TargetFailure('refused', `no account ${name}`);
        change('renew', name, (found) => Object.assign(found, { expiresAt }));
      }),
    disableAccess: (name) =>
      run('disableAccess', () =>
        change('disableAccess', name, (found) => Object.assign(found, { canLogIn: false })),
      ),
    endSessions: (name) => run('endSessions', () => endSessions(accounts.get(name), faults)),
    cleanUp: (name) =>
      run('cleanUp', () => {
        const owned = options.connection.ownedObjects === 'keep' ? (accounts.get(name)?.owns ?? []) : [];
        if (owned.length > 0) return { isGone: false, ownedObjects: owned.slice(0, 100) };
        change('cleanUp', name, () => accounts.delete(name));
        return { isGone: true, ownedObjects: [] };
      }),
    listAccounts: (prefix) =>
      run('listAccounts', () =>
        [...accounts.values()]
          .filter(({ name }) => name.startsWith(prefix))
          .map(({ name, canLogIn, expiresAt }) => ({ name, canLogIn, expiresAt })),
      ),
    rotateAdminCredential: ({ password, deadline }) =>
      run('rotateAdminCredential', () => {
        assertBefore(deadline, options.clock);
        server.ownPasswords.set(options.connection.username, password);
        adminPassword = password;
      }),
    checkHealth: () => run('checkHealth', () => {}),
    findProblems: (mappings) => run('findProblems', () => missingRoles(server, mappings)),
    holdSession: (account) => run('holdSession', () => openSession(server, account)),
    identify: () => run('identify', () => 'fake'),
    close: async () => {},
  };
}

function makeAccount(server: FakeServer, account: NewAccount, { clock }: TargetOptions): void {
  const { name, password, mappings, expiresAt, deadline } = account;
  if (clock.now() >= deadline) throw new TargetFailure('deadline-passed', 'too late');
  if (server.accounts.has(name)) throw new TargetFailure('account-exists', name);
  if (missingRoles(server, mappings).length > 0) throw new TargetFailure('refused', 'no such role');
  const roles = rolesOf(mappings);
  server.accounts.set(name, { name, password, roles, canLogIn: true, expiresAt, sessions: [], owns: [] });
}

function endSessions(account: Account | undefined, faults: Faults): number {
  const open = account?.sessions.filter(({ isOpen }) => isOpen) ?? [];
  if (account?.canLogIn === true) throw new TargetFailure('refused', 'the account can still log in');
  if (faults.withoutEffect.has('endSessions')) return open.length;
  for (const session of open) session.isOpen = false;
  return open.length;
}

function openSession(server: FakeServer, { name, password }: Pick<NewAccount, 'name' | 'password'>) {
  const account = server.accounts.get(name);
  const isRight = account?.password === password || server.faults.acceptsAnyPassword;
  if (account === undefined || !isRight || !account.canLogIn) {
    throw new TargetFailure('login-refused', 'wrong password');
  }
  const session: Session = { isOpen: true };
  account.sessions.push(session);
  return {
    hasEnded: async () => !session.isOpen,
    close: async () => {
      session.isOpen = false;
    },
  };
}

const rolesOf = (mappings: readonly Mapping[]): string[] =>
  mappings.flatMap((mapping) => ('roles' in mapping ? mapping.roles : []));

function missingRoles({ roles }: FakeServer, mappings: readonly Mapping[]) {
  return rolesOf(mappings)
    .filter((role) => !roles.has(role))
    .map((role) => ({ problem: `the role ${role} does not exist`, statement: `CREATE ROLE ${role}` }));
}
