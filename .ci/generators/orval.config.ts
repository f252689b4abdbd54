import { defineConfig } from 'orval';

const clients = '../../test/slow/clients';

export default defineConfig({
  hallpass: {
    input: '../../openapi.yaml',
    output: {
      target: `${clients}/generated/orval/client.ts`,
      client: 'fetch',
      override: { mutator: { path: `${clients}/drivers/orval-fetch.ts`, name: 'orvalFetch' } },
    },
  },
});
