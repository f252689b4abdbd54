import { testMatrix } from './matrix.ts';

testMatrix('postgres', { laneCount: 64, repetitions: 1 });
