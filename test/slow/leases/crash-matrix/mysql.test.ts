import { testMatrix } from './matrix.ts';

testMatrix('mysql', { laneCount: 32, repetitions: 1 });
