import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { compose } from '../../../../src/compose.ts';
import type { Engine, Target } from '../../../../src/engines/engine.ts';
import { type Engines, engines } from '../../../../src/engines/engines.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { testConfig } from '../../../support/test-config.ts';
import type { Instruction, KnownPassword, VictimSettings } from './victim.ts';

/**
 * A broker with the engines of production, which a test kills or stops. Its clock moves only by an instruction of the test. It writes every password
 * that it gives an account to a file, because a response with a password may never arrive.
 */
const settings = JSON.parse(process.argv[2] ?? '') as VictimSettings;
const clock = new FakeClock(settings.now);

function note(known: KnownPassword): void {
  appendFileSync(settings.passwordFile, `${JSON.stringify(known)}\n`);
}

function notePasswords(engine: Engine): Engine {
  return {
    ...engine,
    open(options) {
      const target = engine.open(options);
      const noting: Target = {
        ...target,
        create(account) {
          note({ username: account.name, password: account.password });
          return target.create(account);
        },
        rotateAdminCredential(next) {
          note({ username: options.connection.username, password: next.password });
          return target.rotateAdminCredential(next);
        },
      };
      return noting;
    },
  };
}

const noting = Object.fromEntries(
  Object.entries(engines).map(([kind, engine]) => [kind, notePasswords(engine)]),
) as Engines;
const broker = await compose(testConfig(settings.databaseUrl), { clock, engines: noting });
await broker.worker.register();
const server = createServer(broker.app).listen(0, '127.0.0.1', () => {
  process.send?.({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
});

const lookIntervalMs = 50;
const runs = new Set<Promise<unknown>>();
let looking: NodeJS.Timeout | undefined;

/** Looks for leases to end, again and again, even while earlier runs still end some, as a worker in production does. */
function beginEndingLeases(): void {
  const look = (): void => {
    const run: Promise<unknown> = broker.worker
      .endLeases()
      .catch(() => {})
      .finally(() => runs.delete(run));
    runs.add(run);
  };
  look();
  looking ??= setInterval(look, lookIntervalMs);
}

const instructions: { [Name in Instruction['name']]: (instruction: Instruction) => unknown } = {
  'begin-ending-leases': beginEndingLeases,
  advance: ({ seconds = 0 }) => clock.advance(seconds),
  async settle() {
    clearInterval(looking);
    await Promise.all(runs);
  },
};

process.on('message', (instruction: Instruction) => {
  void Promise.resolve(instructions[instruction.name](instruction)).then(() =>
    process.send?.({ done: true }),
  );
});
