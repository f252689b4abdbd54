import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * The folders with the slowest files, which start processes and servers and wait for
 * them. If one of them began last, it would run alone when all others have ended.
 */
const slowest = ['test/slow/chaos/', 'test/slow/operations/', 'test/slow/faults/', 'test/slow/process/'];

function rank({ moduleId }: TestSpecification): number {
  const found = slowest.findIndex((folder) => moduleId.includes(`/${folder}`));
  return found === -1 ? slowest.length : found;
}

/**
 * Puts the files of the slowest folders first. Within a folder, the order is that of vitest: first those that failed
 * or were slow.
 */
export class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted.toSorted((a, b) => rank(a) - rank(b));
  }
}
