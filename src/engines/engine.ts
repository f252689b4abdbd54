import type { Socket } from 'node:net';
import type { Clock } from '../platform/clock.ts';
import type { Random } from '../platform/random.ts';
import type { Mapping } from './mapping.ts';
import type { Address, TargetProblem, TlsSettings, UsualPorts } from './terms.ts';

export type { Address, TargetProblem, TlsSettings } from './terms.ts';

/** How an engine reaches and administers a target. */
export interface TargetConnection extends Address {
  /** The database (postgres, mysql) or virtual host (rabbitmq) to which leases belong; undefined if the engine has none. */
  database?: string | undefined;
  /** The admin account in the target. */
  username: string;
  password: string;
  tls: TlsSettings;
  /** Further servers with the same accounts, at which sessions must end too. */
  replicas: readonly Address[];
  /** Where agents reach the target. It may be another address for the same server, or the port of another protocol. */
  endpoint: Address;
  /** What happens to objects that an account still owns at its end. They never delay the end of its access. */
  ownedObjects: 'keep' | 'drop';
}

/**
 * Creates a socket for a connection to an address that the rules for targets allow (src/outbound/target-socket.ts).
 * `encrypted` is false if no TLS will follow. The socket is not connected yet: `connect(port, host)` fails with
 * `OutboundFailure`, which the engine converts to `TargetFailure`.
 */
export type CreateSocket = (options: { encrypted: boolean }) => Socket;

export interface TargetOptions {
  connection: TargetConnection;
  createSocket: CreateSocket;
  /** The most connections to the target at one time. Calls beyond it wait. */
  maxConnections: number;
  /** How long a call may take altogether, in milliseconds. */
  timeoutMs: number;
  /** The broker's clock. Times in calls and results are its times: an engine converts them to the clock of the target. */
  clock: Clock;
  random: Random;
}

/** An account that an engine makes. */
export interface NewAccount {
  /** The final name: `[a-z0-9_]`, at most 32 bytes, so that every engine takes it. */
  name: string;
  /** Only characters of `[A-Za-z0-9_]`. */
  password: string;
  /** What its scopes mean in the target. */
  mappings: readonly Mapping[];
  expiresAt: Date;
  /** No account may come into being after this time, even if this process pauses meanwhile. */
  deadline: Date;
}

export interface AccountRenewal {
  name: string;
  expiresAt: Date;
}

export interface NewAdminPassword {
  password: string;
  /** After this instant the call must not set the password: another process may have set a newer one. */
  deadline: Date;
}

/** What is left of an account after it was cleaned up. */
export interface CleanUp {
  /**
   * Whether the account is gone, as checked in the target. False only while it owns objects that are kept, or that cannot be
   * dropped because objects of other accounts depend on them.
   */
  isGone: boolean;
  /** The objects that it owns, described for a person, at most 100; empty if it is gone. */
  ownedObjects: readonly string[];
}

/** An account in the target, as it is now. */
export interface FoundAccount {
  name: string;
  canLogIn: boolean;
  /** From when on the target itself refuses logins of the account; null if it has no fence. */
  expiresAt: Date | null;
}

/** A session of an account, which a preflight holds. */
export interface HeldSession {
  /** Whether the target has ended the session; asks the target. */
  hasEnded(): Promise<boolean>;
  close(): Promise<void>;
}

/**
 * A target that is open for calls. Every call may be repeated: making an account fails if one with its name exists,
 * and ending an account that does not exist succeeds. Every call throws `TargetFailure`.
 */
export interface Target {
  /** Makes an account that can log in and has what its mappings say. Leaves nothing if it fails before the deadline. */
  create(account: NewAccount): Promise<void>;
  /** Sets a later expiry in the target, if the target has a fence; otherwise only checks that the target answers. */
  renew(renewal: AccountRenewal): Promise<void>;
  /**
   * Disables the login of an account and revokes its privileges, except those that only `cleanUp` can find. No login that begins
   * afterwards succeeds. A replica refuses logins as soon as it has replayed the change, for which `endSessions` waits.
   */
  disableAccess(name: string): Promise<void>;
  /** Ends every session of a disabled account, on every server, and returns how many there were. */
  endSessions(name: string): Promise<number>;
  /**
   * Revokes what is left of the privileges of a disabled account without sessions, and removes the account as far as what it
   * owns permits.
   */
  cleanUp(name: string): Promise<CleanUp>;
  /** Finds the accounts whose name begins with `prefix`. */
  listAccounts(prefix: string): Promise<FoundAccount[]>;
  /**
   * Sets another password of the admin account, and removes every other one. May be repeated with the same password.
   * Throws `deadline-passed`.
   */
  rotateAdminCredential(next: NewAdminPassword): Promise<void>;
  /** Whether the target answers the admin account; throws if not. */
  checkHealth(): Promise<void>;
  /** Returns what the admin account lacks, and mappings that are missing in the target or give too much. */
  findProblems(mappings: readonly Mapping[]): Promise<TargetProblem[]>;
  /** Logs in as an account, as an agent would, and holds the session. */
  holdSession(account: Pick<NewAccount, 'name' | 'password'>): Promise<HeldSession>;
  /** A name that differs for two servers that are not the same, if the target has one. */
  identify(): Promise<string | undefined>;
  close(): Promise<void>;
}

/** What the broker needs to know of a kind of target. */
export interface Engine extends UsualPorts {
  /**
   * What refuses logins of an expired account while the broker is down. `valid_until`: the target itself. `none`:
   * nothing.
   */
  fence: 'valid_until' | 'none';
  /** Returns what is wrong with a mapping, without asking a target; undefined if it may be right. */
  mappingProblem(mapping: Mapping): string | undefined;
  open(options: TargetOptions): Target;
}
