import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { type Dispatcher, Pool } from 'undici';

export interface Client {
  /** Resolves when the server has sent `Connection: close` on every connection, or refuses new ones. */
  ended: Promise<void>;
  /** The failures of requests on connections without `Connection: close`. */
  failures: string[];
  /** Whether the client has enough responses for the server to be stopped, or has already ended. */
  isBusy(): boolean;
}

interface Post {
  path: string;
  body: string;
  type: string;
}

/** Sends a request. Returns whether its response is the last one of its connection. */
type Send = (post: Post) => Promise<boolean>;

const connections = 4;
const form = 'grant_type=client_credentials&client_id=agt_nobody&client_secret=wrong';
/** A body that is larger than a socket's buffers, so that a part is unread when the request is refused. */
const unreadable = 'x'.repeat(300_000);
const posts = {
  read: { path: '/oauth2/token', body: form, type: 'application/x-www-form-urlencoded' },
  refusedUnread: { path: '/v1/agents', body: unreadable, type: 'text/plain' },
};

/** Sends requests one after the other over each connection until the server closes it. */
function keepPosting(send: Send): Client {
  const failures: string[] = [];
  let answered = 0;
  const runConnection = async (): Promise<void> => {
    for (let i = 0; ; i += 1) {
      const post = i % 8 === 7 ? posts.refusedUnread : posts.read;
      try {
        const isLast = await send(post);
        answered += 1;
        if (isLast) return;
      } catch (error) {
        const { code = '', message } = error as NodeJS.ErrnoException;
        if (code !== 'ECONNREFUSED') failures.push(`${post.path}: ${code} ${message}`);
        return;
      }
    }
  };
  let isOver = false;
  const ended = Promise.all(Array.from({ length: connections }, runConnection)).then(() => {
    isOver = true;
  });
  return { ended, failures, isBusy: () => isOver || answered >= 50 };
}

/** Sends requests through a pool of undici. `isLast` returns whether a response is the last one of its connection. */
function startPool(origin: string, isLast: (answer: Dispatcher.ResponseData) => boolean): Client {
  const pool = new Pool(origin, { connections, pipelining: 1 });
  const client = keepPosting(async ({ path, body, type }) => {
    const answer = await pool.request({ path, method: 'POST', body, headers: { 'content-type': type } });
    await answer.body.dump();
    return isLast(answer);
  });
  return { ...client, ended: client.ended.finally(() => pool.destroy()) };
}

export const startUndici = (origin: string): Client =>
  startPool(origin, ({ headers }) => headers.connection === 'close');

/** Sends requests through nginx, which keeps its connections to the server, and answers 502 when the server is gone. */
export const startBehindNginx = (origin: string): Client =>
  startPool(origin, ({ statusCode }) => statusCode === 502);

export function startHttpAgent(origin: string): Client {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const client = keepPosting(async ({ path, body, type }) => {
    const headers = { 'content-type': type, 'content-length': Buffer.byteLength(body) };
    const sent = request(origin + path, { method: 'POST', agent, headers }).end(body);
    const [answer] = await once(sent, 'response');
    await once(answer.resume(), 'end');
    return answer.headers.connection === 'close';
  });
  return { ...client, ended: client.ended.finally(() => agent.destroy()) };
}

/** Returns a script for wrk that posts the form, and creates the file `connected` at the first response. */
export function wrkScript(connected: string): string {
  return `wrk.method = "POST"
wrk.body = "${form}"
wrk.headers["Content-Type"] = "${posts.read.type}"
local first = true
function response()
  if first then io.open("${connected}", "w"):close() end
  first = false
end
`;
}

/**
 * Runs wrk until it is interrupted, which the caller does when the server has ended. Its errors of the kind `read` are
 * connections that ended without a response; refused connections are errors of the kind `write`.
 */
export function startWrk(origin: string, script: string, connected: string): Client & { interrupt(): void } {
  const args = ['-t1', `-c${connections}`, '-d60s', '-s', script, origin + posts.read.path];
  const child = spawn('wrk', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const failures: string[] = [];
  let isOver = false;
  const ended = once(child, 'close').then(() => {
    isOver = true;
    const errors = /Socket errors: .*/.exec(output)?.[0];
    if (errors !== undefined && !errors.includes('read 0,')) failures.push(errors);
    if (!output.includes('requests in')) failures.push(`wrk printed: ${output}`);
  });
  return {
    ended,
    failures,
    isBusy: () => isOver || existsSync(connected),
    interrupt: () => child.kill('SIGINT'),
  };
}
