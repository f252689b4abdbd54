import { join } from 'node:path';
import { beforeAll, describe, it } from 'vitest';
import { bootstrapKey, startBroker } from '../../support/broker.ts';
import { areGeneratorsMissing, type ClientName, compileClient, generateClient } from './generate.ts';
import type { GeneratedClient } from './generated-client.ts';
import { tellStory } from './story.ts';

/** A driver implements the story's operations with the generated client, and adds no types to what that has. */
interface Driver {
  connect(url: string): GeneratedClient;
}

/** Tests that the client of a generator compiles and works. */
export function testClient(name: ClientName): void {
  describe.skipIf(areGeneratorsMissing)(`the client that ${name} generates`, () => {
    beforeAll(() => generateClient(name));

    it('compiles under strict TypeScript', () => compileClient(name));

    it('tells the whole story to a running broker, with a denial as a typed problem', async () => {
      const { connect }: Driver = await import(join(import.meta.dirname, `drivers/${name}.ts`));
      const broker = await startBroker();
      await tellStory(connect(broker.url), bootstrapKey);
    });
  });
}
