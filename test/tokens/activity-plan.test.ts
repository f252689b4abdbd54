import { expect, it } from 'vitest';
import { activityText } from '../../src/tokens/store/read-activity.ts';
import { grantTo, permitAll, tokenOf } from '../oauth/fixtures.ts';
import { createAgent, createPolicy, createResource, startBroker } from '../support/broker.ts';
import { FakeClock } from '../support/fake-clock.ts';

const others = 3_000;

it('an introspection reads that token and its grant, however many others there are', async () => {
  const clock = new FakeClock();
  const broker = await startBroker({ clock });
  const { owner } = broker.database;
  await createPolicy(broker, permitAll);
  const [agent, resource] = [await createAgent(broker), await createResource(broker)];
  await grantTo(agent, resource);
  await tokenOf(agent, { resource: resource.identifier });
  const all = async (table: string): Promise<string[]> =>
    (
      await owner.query<{ name: string }>(
        'select column_name as name from information_schema.columns where table_name = $1',
        [table],
      )
    ).rows.map(({ name }) => name);
  const copy = async (table: string, key: string, where: string): Promise<void> => {
    const names = await all(table);
    const values = names.map((name) => (name === key ? `${key} || n` : name));
    await owner.query(
      `insert into ${table} (${names.join()}) select ${values.join()} from ${table}, generate_series(1, ${others}) n ${where}`,
    );
  };
  await copy('tokens', 'jti', 'where grant_id is not null');
  await copy('grants', 'id', '');
  await owner.query('analyze tokens; analyze grants');
  const { rows: tokens } = await owner.query(
    'select row_number() over () as n, jti, extract(epoch from exp)::bigint as exp, kid from tokens where grant_id is not null limit 48',
  );
  const asked = JSON.stringify(tokens).replaceAll("'", "''");
  await owner.query(
    `set plan_cache_mode = force_generic_plan; prepare asked (json, timestamptz) as ${activityText}`,
  );
  const { rows } = await owner.query<{ 'QUERY PLAN': string }>(
    `explain (analyze, timing off) execute asked ('${asked}', '${clock.now().toISOString()}')`,
  );
  const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
  expect(plan).toMatch(/Index Scan using tokens_\d+_pkey/);
  expect(plan).not.toMatch(/Seq Scan on (tokens_\d+|grants).*actual rows=[1-9]/);
});
