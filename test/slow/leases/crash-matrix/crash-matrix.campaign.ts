import { engineKinds } from '../../../../src/engines/terms.ts';
import { testMatrix } from './matrix.ts';

for (const kind of engineKinds) testMatrix(kind, { laneCount: 60, repetitions: 20 });
