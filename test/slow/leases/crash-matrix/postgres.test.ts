import { testMatrix } from './matrix.ts';

testMatrix('postgres', { laneCount: 32, repetitions: 1 });
