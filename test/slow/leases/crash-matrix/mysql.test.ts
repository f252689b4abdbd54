import { testMatrix } from './matrix.ts';

testMatrix('mysql', { laneCount: 64, repetitions: 1 });
