import { chown, cp, mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isRunning } from '../../../src/embedded/postmaster.ts';
import { postmasterPid, query, startBroker, temporaryDataDir } from './broker-process.ts';

const asRoot = process.geteuid?.() === 0;

/** Returns the path of a directory that does not exist yet, within a temporary one. */
async function withDataDir(run: (dataDir: string, parent: string) => Promise<void>): Promise<void> {
  const temporary = await temporaryDataDir();
  try {
    await run(join(temporary.path, 'data-dir'), temporary.path);
  } finally {
    await temporary.remove();
  }
}

describe.concurrent('the holder of the data directory', () => {
  test('is one broker: a second is refused with a clear message, and the server of a killed one is taken over, running or not', () =>
    withDataDir(async (dataDir) => {
      const first = await startBroker(dataDir);
      expect(first.answer.firstStart).toBe(true);
      const refused = await startBroker(dataDir);
      expect(refused.answer.error).toContain(`another broker is using ${dataDir}`);
      expect(await query(first.answer.ownerUrl, 'create table kept as select 1 as one')).toEqual([]);
      const pid = postmasterPid(dataDir);

      await first.kill();
      expect(isRunning(pid)).toBe(true);
      const second = await startBroker(dataDir);
      expect(second.answer).toMatchObject({ ownerUrl: first.answer.ownerUrl, firstStart: false });
      expect(postmasterPid(dataDir)).toBe(pid);

      await second.kill();
      process.kill(pid, 'SIGKILL');
      const third = await startBroker(dataDir);
      expect(third.answer.firstStart).toBe(false);
      expect(postmasterPid(dataDir)).not.toBe(pid);
      expect(await query(third.answer.ownerUrl, 'select one from kept')).toEqual([{ one: 1 }]);

      const last = postmasterPid(dataDir);
      expect(await third.stop()).toBe(0);
      expect(isRunning(last)).toBe(false);
    }));

  test('is one of the brokers that start at the same time on an empty directory, with a working server', () =>
    withDataDir(async (dataDir) => {
      const brokers = await Promise.all([startBroker(dataDir), startBroker(dataDir), startBroker(dataDir)]);
      const winners = brokers.filter((broker) => broker.answer.error === undefined);
      expect(winners).toHaveLength(1);
      for (const { answer } of brokers) {
        if (answer.error !== undefined) expect(answer.error).toContain('another broker is using');
      }
      const [winner] = winners;
      if (winner === undefined) throw new Error('nobody won');
      expect(await query(winner.answer.applicationUrl, 'select current_user as login')).toEqual([
        { login: 'hallpass_app' },
      ]);
      expect(await winner.stop()).toBe(0);
    }));

  test('is not the holder of a copy of the directory', () =>
    withDataDir(async (dataDir, parent) => {
      const original = await startBroker(dataDir);
      const copy = join(parent, 'copy');
      await mkdir(copy, { mode: 0o700 });
      await query(original.answer.adminUrl, 'checkpoint');
      await cp(dataDir, copy, { recursive: true, preserveTimestamps: true });
      if (asRoot) await restoreOwner(join(dataDir, 'server/data'), join(copy, 'server/data'));
      const other = await startBroker(copy);
      expect(other.answer.error).toBeUndefined();
      expect(other.answer.ownerUrl).not.toBe(original.answer.ownerUrl);
      expect(await other.stop()).toBe(0);
      expect(await query(original.answer.applicationUrl, 'select 1 as answer')).toEqual([{ answer: 1 }]);
      await original.stop();
    }));

  // Visible in the report where it cannot run.
  test.runIf(asRoot)(
    '(needs root) an ordinary user starts, is killed and takes over in a directory of its own',
    () =>
      withDataDir(async (dataDir, parent) => {
        await chown(parent, 1000, 1000);
        const broker = await startBroker(dataDir, { uid: 1000, gid: 1000 });
        expect(broker.answer).toMatchObject({ firstStart: true });
        const pid = postmasterPid(dataDir);
        expect((await stat(`/proc/${pid}`)).uid).toBe(1000);
        await broker.kill();
        const next = await startBroker(dataDir, { uid: 1000, gid: 1000 });
        expect(next.answer).toMatchObject({ ownerUrl: broker.answer.ownerUrl, firstStart: false });
        expect(await next.stop()).toBe(0);
        // Root would otherwise trust files that this user can change.
        const root = await startBroker(dataDir);
        expect(root.answer.error).toMatch(/must be a directory of user 0/);
      }),
  );
});

async function restoreOwner(from: string, to: string): Promise<void> {
  const { uid, gid } = await stat(from);
  await chown(to, uid, gid);
  for (const name of await readdir(to, { recursive: true })) await chown(join(to, name), uid, gid);
}
