import { testMatrix } from './matrix.ts';

testMatrix('redis', { laneCount: 8, repetitions: 1 });
