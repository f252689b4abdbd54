import { expect, it } from 'vitest';
import { testClient } from './client-test.ts';
import { areGeneratorsMissing, compileClient } from './generate.ts';

testClient('openapi-fetch');

it.skipIf(areGeneratorsMissing)('a driver that contradicts the contract does not compile', async () => {
  const wrong = `import type { components } from './schema.ts';
export const hints = (problem: components['schemas']['Problem']) => problem.hints;
export const denied = (problem: components['schemas']['DeniedProblem']) => problem.hints;
`;
  const refusal = /wrong\.ts\(2,\d+\): error TS2339: Property 'hints' does not exist/;
  await expect(compileClient('openapi-fetch', wrong)).rejects.toThrow(refusal);
});
