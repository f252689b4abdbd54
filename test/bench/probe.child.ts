import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Sends a few requests of each kind one after another during another load. Each kind has a connection that was opened
 * before the load. Reads a `ProbeOrder` from its input; writes an empty line when the connections are open, and the
 * results of each kind as one line at the end.
 */
export interface ProbeKind {
  name: string;
  pauseMs: number;
  /**
   * The requests of one kind. Each is sent once, until the time is over. `expected` is a text in a correct response.
   */
  requests: { url: string; authorization: string; type: string; body: string; expected: string }[];
}

export interface ProbeOrder {
  seconds: number;
  kinds: ProbeKind[];
}

export interface ProbeReport {
  name: string;
  ok: number;
  /** The first wrong responses. */
  wrong: string[];
  latenciesMs: number[];
}

const shownOfWrong = 3;
const timeoutMs = 30_000;

type Request = ProbeKind['requests'][number];

async function send({ url, authorization, type, body }: Request): Promise<{ status: number; body: string }> {
  const headers = { Authorization: authorization, 'Content-Type': type };
  const signal = AbortSignal.timeout(timeoutMs);
  return fetch(url, { method: 'POST', headers, body, signal }).then(
    async (response) => ({ status: response.status, body: await response.text() }),
    (error: unknown) => ({ status: 0, body: String(error) }),
  );
}

async function probe({ name, pauseMs, requests }: ProbeKind, untilMs: number): Promise<ProbeReport> {
  const report: ProbeReport = { name, ok: 0, wrong: [], latenciesMs: [] };
  for (const request of requests.slice(1)) {
    if (performance.now() >= untilMs) break;
    const startedAt = performance.now();
    const answer = await send(request);
    report.latenciesMs.push(performance.now() - startedAt);
    if (answer.status === 200 && answer.body.includes(request.expected)) report.ok += 1;
    else if (report.wrong.length < shownOfWrong) report.wrong.push(`${answer.status} ${answer.body}`);
    await sleep(pauseMs);
  }
  return report;
}

const { seconds, kinds } = JSON.parse(await text(process.stdin)) as ProbeOrder;
// All kinds begin at once, so that each has a connection.
await Promise.all(kinds.flatMap(({ requests: [first] }) => (first === undefined ? [] : [send(first)])));
process.stdout.write('\n');
const untilMs = performance.now() + seconds * 1000;
const reports = await Promise.all(kinds.map((kind) => probe(kind, untilMs)));
process.stdout.write(`${JSON.stringify(reports)}\n`, () => process.exit(0));
