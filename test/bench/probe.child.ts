import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Sends a few requests of each kind one after another, each kind over a connection of its own, beside somebody else's
 * load. Reads a `ProbeOrder` from its input; answers what became of each kind as one line.
 */
export interface ProbeKind {
  name: string;
  pauseMs: number;
  /** How often is no matter of it: each is sent once, until the time is over. `expected` stands in a right answer. */
  requests: { url: string; authorization: string; type: string; body: string; expected: string }[];
}

export interface ProbeOrder {
  seconds: number;
  kinds: ProbeKind[];
}

export interface ProbeReport {
  name: string;
  ok: number;
  /** The first wrong answers. */
  wrong: string[];
  latenciesMs: number[];
}

const shownOfWrong = 3;
const timeoutMs = 30_000;

async function probe({ name, pauseMs, requests }: ProbeKind, untilMs: number): Promise<ProbeReport> {
  const report: ProbeReport = { name, ok: 0, wrong: [], latenciesMs: [] };
  for (const { url, authorization, type, body, expected } of requests) {
    if (performance.now() >= untilMs) break;
    const startedAt = performance.now();
    const headers = { Authorization: authorization, 'Content-Type': type };
    const signal = AbortSignal.timeout(timeoutMs);
    const answer = await fetch(url, { method: 'POST', headers, body, signal }).then(
      async (response) => ({ status: response.status, body: await response.text() }),
      (error: unknown) => ({ status: 0, body: String(error) }),
    );
    report.latenciesMs.push(performance.now() - startedAt);
    if (answer.status === 200 && answer.body.includes(expected)) report.ok += 1;
    else if (report.wrong.length < shownOfWrong) report.wrong.push(`${answer.status} ${answer.body}`);
    await sleep(pauseMs);
  }
  return report;
}

const { seconds, kinds } = JSON.parse(await text(process.stdin)) as ProbeOrder;
const untilMs = performance.now() + seconds * 1000;
const reports = await Promise.all(kinds.map((kind) => probe(kind, untilMs)));
process.stdout.write(`${JSON.stringify(reports)}\n`, () => process.exit(0));
