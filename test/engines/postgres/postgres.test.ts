import { inject } from 'vitest';
import { testContract } from '../contract.ts';
import { testAdmin } from './admin-cases.ts';
import { testEnding } from './ending-cases.ts';
import { testOwnership } from './ownership-cases.ts';
import { preparePostgres } from './subject.ts';

const start = () => preparePostgres(inject('server').adminUrl);

testContract("PostgreSQL, the suite's own server", start);
testEnding(start);
testOwnership(start);
testAdmin(start);
