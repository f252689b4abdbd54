import { testClient } from './client-test.ts';

testClient('hey-api');
