import { once } from 'node:events';
import { forkScript } from '../../../support/forked.ts';
import { freePort } from '../../../support/free-port.ts';

/** A process of the broker that runs jobs when the test says so. */
export interface ManualReplica {
  url: string;
  pid: number;
  /** Runs a job for a slot. Resolves to the outcome, or undefined if the process ends before. */
  run(job: string, slot: Date): Promise<string | undefined>;
  /** Sends kill -9. Resolves when the process has ended. */
  kill(): Promise<void>;
}

const script = new URL('./replica.child.ts', import.meta.url).pathname;

/** Starts a replica and waits until it listens. It is killed when the test file ends. */
export async function startManualReplica(env: Record<string, string>): Promise<ManualReplica> {
  const port = await freePort();
  const { child, exited, kill } = forkScript(script, { env: { ...env, HALLPASS_PORT: String(port) } });
  const message = async (): Promise<{ outcome?: string } | undefined> =>
    Promise.race([
      once(child, 'message').then(([message]) => message as object),
      exited.then(() => undefined),
    ]);
  if ((await message()) === undefined) throw new Error('the replica ended before it listened');
  return {
    url: `http://127.0.0.1:${port}`,
    pid: child.pid ?? 0,
    async run(job, slot) {
      const answer = message();
      child.send({ job, slot: slot.toISOString() });
      return (await answer)?.outcome;
    },
    kill,
  };
}
