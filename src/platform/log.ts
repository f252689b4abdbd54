import { type DestinationStream, pino } from 'pino';

/**
 * Every field a log line may have. A field that is not listed is dropped: bodies, authorization headers,
 * query strings and secrets have no name here, so they cannot be logged by mistake.
 */
const allowedFields = [
  'address',
  'agent_id',
  'alg',
  'attempt',
  'caller',
  'code',
  'count',
  'duration_ms',
  'err',
  'job',
  'key_id',
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
  /** Writes out what is buffered. */
  flush(): void;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

const allowed: ReadonlySet<string> = new Set(allowedFields);

/** Only name, code, message and stack of an error: a database driver hangs rows and parameters on its errors. */
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

/** Nearly every line is, and needs no copy then. */
function isAllowed(fields: LogFields): boolean {
  for (const name in fields) if (!allowed.has(name)) return false;
  return true;
}

/** JSON lines (one object a line, RFC 3339 time) with control characters escaped by the JSON encoding. */
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
