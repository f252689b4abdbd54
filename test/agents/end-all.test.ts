import { beforeAll, describe, expect, it } from 'vitest';
import { endAll } from '../../src/agents/end-all.ts';
import { createAudit } from '../../src/audit/store.ts';
import { createIds } from '../../src/platform/ids.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { asBootstrap, startBroker, type TestBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';

const clock = new FakeClock();
let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker({ clock });
});

describe('ending everything', () => {
  it('takes back the trust in what issuers say of people with the credentials, and leaves it else', async () => {
    const admin = asBootstrap(broker);
    const terms = { issuer: 'https://people.example', name: 'people', subject_tokens: true };
    const { id } = (await admin.post('/v1/trusted-issuers', terms).expect(201)).body;
    const read = async () => {
      const { rows } = await broker.database.owner.query(
        'select subject_tokens, epoch::integer from trusted_issuers where id = $1',
        [id],
      );
      return rows[0];
    };
    const { db } = broker.database;
    const audit = createAudit({ clock, ids: createIds(clock, createSystemRandom()) });
    expect(await endAll({ db, audit, clock }, 'grants')).toMatchObject({ subjectIssuers: 0 });
    expect(await read()).toEqual({ subject_tokens: true, epoch: 1 });
    expect(await endAll({ db, audit, clock }, 'credentials')).toMatchObject({ subjectIssuers: 1 });
    expect(await read()).toEqual({ subject_tokens: false, epoch: 2 });
    // Nobody has a key any more.
    await admin.get('/v1/trusted-issuers').expect(401);
    expect(await endAll({ db, audit, clock }, 'credentials')).toMatchObject({ subjectIssuers: 0 });
  });
});
