import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createKeyAuthentication } from '../../src/admins/authenticate.ts';
import { createLog } from '../../src/platform/log.ts';
import { asBootstrap, bootstrapKey, startBroker, type TestBroker } from '../support/broker.ts';
import { eventually } from '../support/eventually.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
const lines: string[] = [];
let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker({ clock, log: createLog('warn', { write: (line) => lines.push(line) }) });
});
beforeEach(() => {
  lines.length = 0;
});

async function lastUse(): Promise<string | undefined> {
  const { rows } = await broker.database.owner.query('select last_used_at as at from admin_keys');
  return rows[0]?.at?.toISOString();
}

/** Runs `call` while authentication works, but the time of a key's use cannot be written. */
async function withoutRecord(call: () => Promise<void>): Promise<void> {
  await broker.database.owner.query('alter table admin_keys rename column last_used_at to elsewhere');
  try {
    await call();
  } finally {
    await broker.database.owner.query('alter table admin_keys rename column elsewhere to last_used_at');
  }
}

describe('the time when a key was last used', () => {
  it('is written once a minute, and no request waits for it or fails with it', async () => {
    const admin = asBootstrap(broker);
    await withoutRecord(async () => {
      for (let minute = 0; minute < 3; minute += 1) {
        await admin.get('/v1/agents').expect(200);
        clock.advance(61);
        await admin.get('/v1/agents').expect(200);
      }
      await eventually(async () => expect(lines.join('')).toContain('could not be written'));
    });
    const used = clock.now().toISOString();
    await eventually(async () => {
      clock.advance(60);
      expect(await lastUse()).toBe(used);
    });
  });

  it('is kept for the next attempt if it cannot be written', async () => {
    const authentication = createKeyAuthentication({ db: broker.database.db, clock });
    const at = clock.now().toISOString();
    await withoutRecord(async () => {
      expect(await authentication.authenticate(bootstrapKey)).toMatchObject({ kind: 'person' });
      await expect(authentication.flush()).rejects.toMatchObject({ code: '42703' });
    });
    await authentication.flush();
    expect(await lastUse()).toBe(at);
  });
});
