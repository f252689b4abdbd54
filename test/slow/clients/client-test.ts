import { join } from 'node:path';
import { beforeAll, describe, it } from 'vitest';
import { bootstrapKey, startBroker } from '../../support/broker.ts';
import { areGeneratorsMissing, type ClientName, compileClient, generateClient } from './generate.ts';
import type { GeneratedClient } from './generated-client.ts';
import { tellStory } from './story.ts';

/**
 * The functions of a driver. It implements the operations of the story with the generated client, and adds no types
 * of its own.
 */
interface Driver {
  connect(url: string): GeneratedClient;
}

/** Tests that the client of a generator compiles and works. */
export function testClient(name: ClientName): void {
  describe.skipIf(areGeneratorsMissing)(`the client that ${name} generates`, () => {
    beforeAll(() => generateClient(name));

    it('compiles under strict TypeScript', () => compileClient(name));

    it('performs the whole story on a running broker, and gets a denial as a typed problem', async () => {
      const { connect }: Driver = await import(join(import.meta.dirname, `drivers/${name}.ts`));
      const broker = await startBroker();
      await tellStory(connect(broker.url), bootstrapKey);
    });
  });
}
