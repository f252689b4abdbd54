import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { createTestDatabase } from '../support/test-database.ts';

const root = join(import.meta.dirname, '../..');
const codegen = join(root, 'node_modules/kysely-codegen/dist/cli/bin.js');

async function generate(url: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'hallpass-schema-'));
  const file = join(directory, 'schema.ts');
  const options = ['--config-file', '.kysely-codegenrc.json', '--url', url, '--out-file', file];
  try {
    await promisify(execFile)(process.execPath, [codegen, ...options], { cwd: root });
    return await readFile(file, 'utf8');
  } finally {
    await rm(directory, { recursive: true });
  }
}

it('the types of the tables are those that npm run generate:db generates from the migrations', async () => {
  const { owner, ownerUrl } = await createTestDatabase();
  // Partitions are tables too, and are created and dropped over time.
  const { rows } = await owner.query("select relname from pg_class where relispartition and relkind = 'r'");
  for (const { relname } of rows) await owner.query(`drop table ${relname}`);
  expect(await generate(ownerUrl)).toBe(await readFile(join(root, 'src/db/schema.gen.ts'), 'utf8'));
  await owner.query('alter table grants add column planted text');
  expect(await generate(ownerUrl)).toContain('planted: string | null');
});
