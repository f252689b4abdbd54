import { type CompiledQuery, Kysely, PostgresDialect } from 'kysely';
import { expect, it } from 'vitest';
import { findIdentities } from '../../../src/agents/credentials/find-identities.ts';
import type { DB } from '../../../src/db/schema.gen.ts';
import { asBootstrap, createPerson, startBroker } from '../../support/broker.ts';

it('finds the identities of a token by an index, however many other identities there are', async () => {
  const broker = await startBroker();
  const issuer = 'https://ci.example';
  const trusted = await asBootstrap(broker)
    .post('/v1/trusted-issuers', { name: 'CI', issuer, jwks_uri: 'https://ci.example/keys' })
    .expect(201);
  const terms = {
    name: 'job',
    environment: 'production',
    owner: (await createPerson(broker)).id,
    token_endpoint_auth_method: 'federated_jwt',
  };
  const identity = { trusted_issuer_id: trusted.body.id, subject: 'repo:0' };
  const agent = await asBootstrap(broker)
    .post('/v1/agents', { ...terms, identity })
    .expect(201);
  const { owner, pool } = broker.database;
  await owner.query(
    `insert into agent_secrets (id, client_id, trusted_issuer_id, subject, claims, issued_by, created_at)
     select 'prf_' || n, client_id, trusted_issuer_id, 'repo:' || n, claims, issued_by, created_at
       from agent_secrets, generate_series(1, 20000) n where client_id = $1`,
    [agent.body.id],
  );
  await owner.query('analyze agent_secrets; analyze trusted_issuers');
  // The trigger has set the claim of rows that name only a subject, which is how the previous version writes them.
  const identifyingClaims = ['sub=repo:17', 'ref=main', 'n=1'];
  let query: CompiledQuery | undefined;
  const db = new Kysely<DB>({
    dialect: new PostgresDialect({ pool }),
    log: (event) => {
      query = event.query;
    },
  });
  const { rows: issuers } = await owner.query('select xmin::text as version from trusted_issuers');
  const trustedIssuerId = trusted.body.id;
  const rowVersion: string = issuers[0].version;
  const claims = { sub: 'repo:17' };
  const found = await findIdentities(db, { trustedIssuerId, rowVersion, identifyingClaims, claims });
  expect(found.map(({ id }) => id)).toEqual(['prf_17']);
  const { rows } = await pool.query(`explain ${query?.sql}`, [...(query?.parameters ?? [])]);
  const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
  expect(plan).toMatch(/agent_secrets_identifying_claim/);
  expect(plan).not.toMatch(/Seq Scan on agent_secrets/);
  // A token that was verified by an earlier version of the issuer finds nothing.
  const earlier = await findIdentities(db, { trustedIssuerId, rowVersion: '1', identifyingClaims, claims });
  expect(earlier).toEqual([]);
});
