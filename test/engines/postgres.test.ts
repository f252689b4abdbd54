import { inject } from 'vitest';
import { testContract } from './contract.ts';
import { preparePostgres } from './postgres-subject.ts';

testContract("PostgreSQL, the suite's own server", () => preparePostgres(inject('server').adminUrl));
