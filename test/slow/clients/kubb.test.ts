import { testClient } from './client-test.ts';

testClient('kubb');
