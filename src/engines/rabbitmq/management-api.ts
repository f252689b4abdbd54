import { Pool } from 'undici';
import { runBounded } from '../bounded-call.ts';
import type { TargetOptions } from '../engine.ts';
import { checkBeforeSending } from './check-before-sending.ts';
import { type Answer, answerFailure, toTargetFailure } from './failure.ts';
import { openSocket } from './open-socket.ts';

type Method = 'GET' | 'PUT' | 'DELETE';

export interface RequestOptions {
  method?: Method;
  body?: object;
  query?: Record<string, string>;
  /** Conditional headers, and the reason for closing connections. */
  headers?: Record<string, string>;
  /** Statuses that the caller handles, besides success. */
  accept?: readonly number[];
  /** Aborts this request alone. */
  signal?: AbortSignal;
  /** Runs when nothing but writing the request is left to do; what it throws is thrown, and nothing is sent. */
  beforeSending?: () => void;
}

/** The requests of one call to a target, which must all be finished before the call's timeout. */
export interface Call {
  /**
   * Requests a resource of the HTTP API as the admin account.
   *
   * @param path the segments after `/api`, which are percent-encoded
   */
  request(path: readonly string[], options?: RequestOptions): Promise<Answer>;
  signal: AbortSignal;
}

export interface ManagementApi {
  /** Runs one call. Throws only `TargetFailure`. */
  run<T>(work: (call: Call) => Promise<T>): Promise<T>;
  /** Uses another password of the admin account from now on. */
  changePassword(password: string): void;
  close(): Promise<void>;
}

const commonHeaders = {
  accept: 'application/json',
  // A response that is not compressed cannot exceed the limit by decompression.
  'accept-encoding': 'identity',
  'content-type': 'application/json',
  'user-agent': 'hallpass',
};

/** `undici` opens a connection again after a request was aborted, even if none waits, so idle ones are closed soon. */
const idleTimeoutMs = 1_000;
/** RabbitMQ lists all users at once: this is enough for 100,000. */
const maxResponseBytes = 16 * 1024 * 1024;

/** Opens the connections to the HTTP API of the management plugin. Connects only when the first call needs it. */
export function openManagementApi(options: TargetOptions): ManagementApi {
  const { connection, timeoutMs } = options;
  const { username } = connection;
  let { password } = connection;
  const pool = openPool(options);

  async function request(
    callSignal: AbortSignal,
    path: readonly string[],
    options: RequestOptions = {},
  ): Promise<Answer> {
    const { method = 'GET', query = {}, body, accept = [], signal, beforeSending = () => {} } = options;
    const credentials = Buffer.from(`${username}:${password}`).toString('base64');
    const response = await pool.compose(checkBeforeSending(beforeSending)).request({
      method,
      path: `/api/${path.map(encodeURIComponent).join('/')}`,
      query,
      headers: { ...commonHeaders, authorization: `Basic ${credentials}`, ...options.headers },
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal === undefined ? callSignal : AbortSignal.any([callSignal, signal]),
    });
    const answer = { status: response.statusCode, body: parseJson(await response.body.text()) };
    if (isSuccess(answer.status) || accept.includes(answer.status)) return answer;
    throw answerFailure(answer, { username, secrets: [password, credentials] });
  }

  return {
    run: (work) =>
      runBounded({ timeoutMs, toFailure: toTargetFailure }, (signal) =>
        work({ signal, request: (path, how) => request(signal, path, how) }),
      ),
    changePassword(next) {
      password = next;
    },
    close: () => pool.destroy(),
  };
}

function openPool({ connection, createSocket, maxConnections, timeoutMs }: TargetOptions): Pool {
  const { host, port, tls } = connection;
  const scheme = tls.mode === 'verify' ? 'https' : 'http';
  return new Pool(`${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`, {
    connections: maxConnections,
    pipelining: 1,
    connect: (_options, callback) => {
      const signal = AbortSignal.timeout(timeoutMs);
      openSocket({ host, port }, { tls, createSocket, signal }).then(
        (socket) => callback(null, socket),
        (error: Error) => callback(error, null),
      );
    },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    keepAliveTimeout: idleTimeoutMs,
    keepAliveMaxTimeout: idleTimeoutMs,
    maxResponseSize: maxResponseBytes,
    maxHeaderSize: 16_384,
  });
}

const isSuccess = (status: number): boolean => status >= 200 && status < 300;

function parseJson(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
