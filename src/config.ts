import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { isBootstrapKey } from './admins/admin.ts';
import { type MasterKey, parseMasterKey } from './crypto/master-key.ts';
import { type Issuer, parseIssuer } from './platform/issuer.ts';

/** A wrong, weak or missing setting. The message is one line that names the variable and never contains its value. */
export class ConfigError extends Error {
  constructor(variable: string, problem: string) {
    super(`${variable} ${problem}`);
    this.name = 'ConfigError';
  }
}

/** The variables with secrets. For each, its `_FILE` twin may give the path of a file instead. */
const secretVariables = [
  'DATABASE_URL',
  'DATABASE_OWNER_URL',
  'HALLPASS_MASTER_KEY',
  'HALLPASS_MASTER_KEYS_OLD',
  'HALLPASS_BOOTSTRAP_ADMIN_KEY',
] as const;

/** Accepts only digits. Other texts that `Number` accepts ('', ' 1', '0x10', '1e3') are probably mistakes. */
const wholeNumber = (min: number, max: number) =>
  z
    .string()
    .refine(
      (text) => /^\d{1,9}$/.test(text) && Number(text) >= min && Number(text) <= max,
      `must be a whole number from ${min} to ${max}`,
    )
    .transform(Number);
const port = wholeNumber(0, 65_535);
const oneOf = <const Values extends [string, ...string[]]>(...values: Values) =>
  z.enum(values, { error: `must be one of ${values.join(', ')}` });
const postgresUrl = z
  .string()
  .refine((text) => /^postgres(ql)?:\/\//.test(text) && URL.canParse(text), 'must be a postgres:// URL');
const onOff = oneOf('on', 'off').transform((text) => text === 'on');
const longestRate = 10_000;
const rate = z.union([z.literal('off'), wholeNumber(1, longestRate)], {
  error: `must be off or a whole number from 1 to ${longestRate} (requests a second)`,
});
/**
 * Less than the capacity of one replica, so that no address or agent can starve others; and far more than a fleet
 * behind one NAT address needs, where each agent requests a token every few minutes. Each replica counts separately.
 */
const defaultRate = 1000;
const list = z.string().transform((text) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== ''),
);

const cidrs = list
  .refine((items) => items.every((item) => ipaddr.isValidCIDR(item)), 'must be CIDRs, separated by commas')
  .default([]);

const schema = z.object({
  DATABASE_URL: postgresUrl.optional(),
  DATABASE_OWNER_URL: postgresUrl.optional(),
  HALLPASS_BOOTSTRAP_ADMIN_KEY: z
    .string()
    .refine(isBootstrapKey, 'must be hpa_ and at least 32 random characters of [A-Za-z0-9_]')
    .optional(),
  HALLPASS_DATA_DIR: z.string().min(1).default('.hallpass'),
  HALLPASS_DPOP_NONCE: oneOf('required', 'optional').default('required'),
  HALLPASS_GATEWAY_HOST: z.string().min(1).default('127.0.0.1'),
  HALLPASS_GATEWAY_PORT: port.default(8081),
  HALLPASS_GATEWAY_URL: z.string().transform(issuer).optional(),
  HALLPASS_HOST: z.string().min(1).default('127.0.0.1'),
  HALLPASS_LOG_LEVEL: oneOf('debug', 'info', 'warn', 'error', 'silent').default('info'),
  HALLPASS_MASTER_KEY: z.string().transform(masterKey).optional(),
  HALLPASS_MASTER_KEYS_OLD: list.pipe(z.array(z.string().transform(masterKey))).default([]),
  HALLPASS_METRICS_HOST: z.string().min(1).default('127.0.0.1'),
  HALLPASS_METRICS_PORT: port.default(9464),
  HALLPASS_OUTBOUND_ALLOW: cidrs,
  HALLPASS_PORT: port.default(8080),
  HALLPASS_PREPARED_STATEMENTS: onOff.default(true),
  HALLPASS_PUBLIC_URL: z.string().transform(issuer).optional(),
  HALLPASS_RATE_LIMIT: rate.default(defaultRate),
  HALLPASS_ROLE: oneOf('api', 'worker', 'gateway', 'all').default('all'),
  HALLPASS_SHUTDOWN_DELAY_SECONDS: wholeNumber(0, 120).default(0),
  HALLPASS_SHUTDOWN_GRACE_SECONDS: wholeNumber(0, 60).default(2),
  HALLPASS_SHUTDOWN_SECONDS: wholeNumber(1, 600).default(30),
  HALLPASS_TARGET_ALLOW: cidrs,
  HALLPASS_TARGET_PLAINTEXT: cidrs,
  HALLPASS_TRUSTED_PROXIES: cidrs,
});

function masterKey(text: string, context: z.RefinementCtx): MasterKey {
  try {
    return parseMasterKey(text);
  } catch (error) {
    context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : 'is not valid' });
    return z.NEVER;
  }
}

function issuer(text: string, context: z.RefinementCtx): Issuer {
  const parsed = parseIssuer(text);
  if (parsed !== undefined) return parsed;
  context.addIssue({
    code: 'custom',
    message: 'must be https://HOST[:PORT], without path or trailing slash (http only on loopback)',
  });
  return z.NEVER;
}

/** The validated configuration. */
export interface Config {
  /** If undefined, the broker starts its own PostgreSQL under `dataDirectory`. */
  databaseUrl: string | undefined;
  databaseOwnerUrl: string | undefined;
  dataDirectory: string;
  masterKey: MasterKey | undefined;
  oldMasterKeys: MasterKey[];
  bootstrapAdminKey: string | undefined;
  issuer: Issuer | undefined;
  role: 'api' | 'worker' | 'gateway' | 'all';
  host: string;
  port: number;
  /** The origin at which agents reach the gateway. Undefined: no resource shows a URL at the gateway. */
  gatewayUrl: Issuer | undefined;
  gatewayHost: string;
  gatewayPort: number;
  metricsHost: string;
  metricsPort: number;
  logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent';
  preparedStatements: boolean;
  /**
   * Requests per second, of each address before authentication and of each agent, person or resource server after it.
   */
  rateLimitPerSecond: number | 'off';
  /** How long the broker serves requests after SIGTERM while it reports that it is not ready. */
  shutdownDelaySeconds: number;
  shutdownGraceSeconds: number;
  shutdownSeconds: number;
  trustedProxies: string[];
  /** Whether a DPoP proof needs a nonce of the broker. */
  dpopNonce: 'required' | 'optional';
  /** The blocks of private addresses to which the broker may send requests, in addition to all public addresses. */
  outboundAllow: string[];
  /** The blocks of private addresses at which targets of leases may be, in addition to all public addresses. */
  targetAllow: string[];
  /** The blocks of addresses, besides loopback, at which targets may be reached without TLS. */
  targetPlaintext: string[];
}

type Environment = Record<string, string | undefined>;

/** Reads a secret from the file that `variable` names, without one trailing line break. */
function readSecretFile(variable: string, path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch {
    throw new ConfigError(variable, 'names a file that cannot be read');
  }
  // Treated as absent, it would start the broker with another database, or without the intended key.
  if (text === '') throw new ConfigError(variable, 'names an empty file');
  return text;
}

/** Returns the variables that are set and not empty, including the secrets of `_FILE` twins. */
function readSettings(environment: Environment): Record<string, string> {
  const entries = Object.entries(environment).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== '',
  );
  const settings = Object.fromEntries(entries);
  for (const name of secretVariables) {
    const twin = `${name}_FILE`;
    const path = settings[twin];
    if (path === undefined) continue;
    if (settings[name] !== undefined) throw new ConfigError(name, 'and its _FILE twin are both set');
    settings[name] = readSecretFile(twin, path);
  }
  return settings;
}

const known: ReadonlySet<string> = new Set([
  ...Object.keys(schema.shape),
  ...secretVariables.map((name) => `${name}_FILE`),
]);

/** Throws ConfigError for a setting that is missing or wrong because of others. */
function checkTogether(values: z.infer<typeof schema>): void {
  if (values.DATABASE_URL !== undefined) {
    if (values.HALLPASS_MASTER_KEY === undefined)
      throw new ConfigError('HALLPASS_MASTER_KEY', 'is missing (DATABASE_URL is set)');
    if (values.HALLPASS_PUBLIC_URL === undefined)
      throw new ConfigError('HALLPASS_PUBLIC_URL', 'is missing (DATABASE_URL is set)');
    if (values.HALLPASS_ROLE === 'gateway' && values.HALLPASS_GATEWAY_URL === undefined)
      throw new ConfigError('HALLPASS_GATEWAY_URL', 'is missing (HALLPASS_ROLE is gateway)');
  }
  // Both are origins in normal form, so texts that differ are different origins.
  if (values.HALLPASS_GATEWAY_URL !== undefined && values.HALLPASS_GATEWAY_URL === values.HALLPASS_PUBLIC_URL)
    throw new ConfigError('HALLPASS_GATEWAY_URL', 'must have another origin than HALLPASS_PUBLIC_URL');
}

/**
 * Reads the configuration. Throws ConfigError for the first wrong, weak or missing setting. An empty variable counts
 * as absent. An unknown variable that begins with HALLPASS_ is refused.
 */
export function readConfig(environment: Environment = process.env): Config {
  const settings = readSettings(environment);
  for (const name of Object.keys(settings)) {
    if (name.startsWith('HALLPASS_') && !known.has(name))
      throw new ConfigError(name, 'is not a known setting');
  }
  const result = schema.safeParse(settings);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new ConfigError(String(issue?.path[0] ?? 'configuration'), issue?.message ?? 'is not valid');
  }
  const values = result.data;
  checkTogether(values);
  return {
    databaseUrl: values.DATABASE_URL,
    databaseOwnerUrl: values.DATABASE_OWNER_URL,
    dataDirectory: resolve(values.HALLPASS_DATA_DIR),
    masterKey: values.HALLPASS_MASTER_KEY,
    oldMasterKeys: values.HALLPASS_MASTER_KEYS_OLD,
    bootstrapAdminKey: values.HALLPASS_BOOTSTRAP_ADMIN_KEY,
    issuer: values.HALLPASS_PUBLIC_URL,
    role: values.HALLPASS_ROLE,
    host: values.HALLPASS_HOST,
    port: values.HALLPASS_PORT,
    gatewayUrl: values.HALLPASS_GATEWAY_URL,
    gatewayHost: values.HALLPASS_GATEWAY_HOST,
    gatewayPort: values.HALLPASS_GATEWAY_PORT,
    metricsHost: values.HALLPASS_METRICS_HOST,
    metricsPort: values.HALLPASS_METRICS_PORT,
    logLevel: values.HALLPASS_LOG_LEVEL,
    preparedStatements: values.HALLPASS_PREPARED_STATEMENTS,
    rateLimitPerSecond: values.HALLPASS_RATE_LIMIT,
    shutdownDelaySeconds: values.HALLPASS_SHUTDOWN_DELAY_SECONDS,
    shutdownGraceSeconds: values.HALLPASS_SHUTDOWN_GRACE_SECONDS,
    shutdownSeconds: values.HALLPASS_SHUTDOWN_SECONDS,
    trustedProxies: values.HALLPASS_TRUSTED_PROXIES,
    outboundAllow: values.HALLPASS_OUTBOUND_ALLOW,
    targetAllow: values.HALLPASS_TARGET_ALLOW,
    targetPlaintext: values.HALLPASS_TARGET_PLAINTEXT,
    dpopNonce: values.HALLPASS_DPOP_NONCE,
  };
}
