import { type DestinationStream, pino } from 'pino';

/**
 * The fields that a log line may have. Any other field is dropped: there is no field for bodies, authorization
 * headers, query strings and secrets, so they cannot be logged by mistake.
 */
const allowedFields = [
  'address',
  'agent_id',
  'alg',
  'attempt',
  'call_id',
  'caller',
  'code',
  'connection_id',
  'count',
  'duration_ms',
  'err',
  'feed',
  'job',
  'key_id',
  'lease_id',
  'method',
  'operation',
  'outcome',
  'path',
  'reason',
  'request_id',
  'rows',
  'slot',
  'sqlstate',
  'status',
  'url',
] as const;

export type LogFields = Partial<Record<(typeof allowedFields)[number], unknown>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** Writes buffered lines. */
  flush(): void;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

const allowed: ReadonlySet<string> = new Set(allowedFields);

/**
 * Keeps only the name, code, message and stack of an error: a database driver attaches rows and parameters to its
 * errors.
 */
function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { message: String(error) };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  const internal = 'internal' in error && typeof error.internal === 'string' ? error.internal : undefined;
  return { name: error.name, code, message: error.message, internal, stack: error.stack };
}

function keepAllowed(fields: LogFields): Record<string, unknown> {
  if (fields.err === undefined && isAllowed(fields)) return fields;
  const kept: Record<string, unknown> = {};
  for (const name of Object.keys(fields) as (keyof LogFields)[]) {
    if (!allowed.has(name)) continue;
    kept[name] = name === 'err' ? describeError(fields[name]) : fields[name];
  }
  return kept;
}

/** Whether all fields are allowed. This is so for nearly every line, which then needs no copy. */
function isAllowed(fields: LogFields): boolean {
  for (const name in fields) if (!allowed.has(name)) return false;
  return true;
}

/**
 * Creates a log that writes JSON lines (one object per line, RFC 3339 time), in which control characters are escaped.
 */
export function createLog(level: LogLevel, destination?: DestinationStream): Log {
  const options = { level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  const sink =
    destination ?? pino.destination({ dest: 2, sync: false, minLength: 12_288, periodicFlush: 200 });
  const logger = pino(options, sink);
  const at =
    (name: 'debug' | 'info' | 'warn' | 'error') =>
    (message: string, fields: LogFields = {}): void => {
      if (logger.isLevelEnabled(name)) logger[name](keepAllowed(fields), message);
    };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    flush: () => {
      if ('flushSync' in sink && typeof sink.flushSync === 'function') sink.flushSync();
    },
  };
}
