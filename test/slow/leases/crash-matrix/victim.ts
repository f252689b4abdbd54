import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { atEnd } from '../../../support/at-end.ts';
import { forkScript } from '../../../support/forked.ts';

export interface VictimSettings {
  databaseUrl: string;
  /** The time on its clock. */
  now: string;
  passwordFile: string;
}

export interface KnownPassword {
  username: string;
  password: string;
}

export interface Instruction {
  name: 'begin-ending-leases' | 'advance' | 'settle';
  seconds?: number;
}

/** A process of a broker that will be killed or stopped. */
export interface Victim {
  url: string;
  /** Sends an instruction without waiting for its effect. */
  tell(instruction: Instruction): void;
  /** Resolves when the process has followed an instruction. No other may be sent meanwhile. */
  ask(instruction: Instruction): Promise<void>;
  stop(): void;
  continue(): void;
  /** Sends kill -9. Resolves when the process has ended. */
  kill(): Promise<void>;
  /** The passwords that it gave accounts so far. */
  passwords(): KnownPassword[];
}

const script = new URL('./broker.child.ts', import.meta.url).pathname;

/** Starts a broker and waits until it listens. It is killed when the test file ends. */
export async function startVictim({ databaseUrl, now }: { databaseUrl: string; now: Date }): Promise<Victim> {
  const directory = mkdtempSync(join(tmpdir(), 'hallpass-crash-'));
  atEnd(async () => rmSync(directory, { recursive: true, force: true }));
  const settings: VictimSettings = {
    databaseUrl,
    now: now.toISOString(),
    passwordFile: join(directory, 'passwords'),
  };
  const { child, exited, kill } = forkScript(script, { args: [JSON.stringify(settings)] });
  const message = async (): Promise<{ url?: string }> => {
    const ended = exited.then(() => Promise.reject(new Error('the broker ended by itself')));
    const [received] = (await Promise.race([once(child, 'message'), ended])) as [{ url?: string }];
    return received;
  };
  const { url = '' } = await message();
  return {
    url,
    tell: (instruction) => void child.send(instruction),
    async ask(instruction) {
      const answer = message();
      child.send(instruction);
      await answer;
    },
    stop: () => void child.kill('SIGSTOP'),
    continue: () => void child.kill('SIGCONT'),
    kill,
    passwords: () =>
      existsSync(settings.passwordFile)
        ? readFileSync(settings.passwordFile, 'utf8')
            .trimEnd()
            .split('\n')
            .map((line) => JSON.parse(line) as KnownPassword)
        : [],
  };
}
