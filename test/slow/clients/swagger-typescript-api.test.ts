import { testClient } from './client-test.ts';

testClient('swagger-typescript-api');
