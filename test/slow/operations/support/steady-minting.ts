import { Agent } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Answer, call, type Story } from '../../../e2e/support/client.ts';

/** Clients that mint steadily through a simulated load balancer, which chooses one of its replicas. */
export interface SteadyMinting {
  /** Sends all further requests to these replicas. Resolves when every request to the others has a response. */
  balance(...urls: string[]): Promise<void>;
  /** Resolves when `count` more tokens have been issued. */
  more(count: number): Promise<void>;
  /** Ends it. Returns how many tokens were issued, and all other responses. */
  end(): Promise<{ minted: number; failed: unknown[] }>;
}

const callers = 3;
const pollMs = 5;
/** The pause between two requests of a caller: processes that start meanwhile need the cores more. */
const paceMs = 20;

export function mintSteadily({ client, resource }: Story, ...urls: string[]): SteadyMinting {
  const form = { grant_type: 'client_credentials', resource, scope: 'read' };
  const agent = new Agent({ keepAlive: true, maxSockets: callers });
  const inFlight = new Map<string, number>();
  const failed: unknown[] = [];
  let targets = urls;
  let minted = 0;
  let ended = false;
  const once = async (turn: number): Promise<void> => {
    const url = targets[turn % targets.length] ?? '';
    inFlight.set(url, (inFlight.get(url) ?? 0) + 1);
    try {
      const answer: Answer = await call(`${url}/oauth2/token`, { basic: client, form, agent });
      if (answer.status === 200) minted += 1;
      else failed.push(answer);
    } catch (error) {
      failed.push(error);
    } finally {
      inFlight.set(url, (inFlight.get(url) ?? 0) - 1);
    }
  };
  const running = Array.from({ length: callers }, async (_, caller) => {
    for (let turn = caller; !ended; turn += 1) {
      await once(turn);
      await sleep(paceMs);
    }
  });
  const until = async (check: () => boolean): Promise<void> => {
    while (!check() && failed.length === 0) await sleep(pollMs);
  };
  return {
    async balance(...next) {
      const left = targets.filter((url) => !next.includes(url));
      targets = next;
      await until(() => left.every((url) => (inFlight.get(url) ?? 0) === 0));
    },
    more(count) {
      const goal = minted + count;
      return until(() => minted >= goal);
    },
    async end() {
      ended = true;
      await Promise.all(running);
      agent.destroy();
      return { minted, failed };
    },
  };
}
