import { engineKinds } from '../../../../src/engines/terms.ts';
import { testMatrix } from './matrix.ts';

const { REPETITIONS = '20' } = process.env;

for (const kind of engineKinds) testMatrix(kind, { laneCount: 60, repetitions: Number(REPETITIONS) });
