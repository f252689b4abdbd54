import { testPostgresVersion } from './postgres-version.ts';

testPostgresVersion('16');
