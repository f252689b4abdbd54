import { testMatrix } from './matrix.ts';

testMatrix('redis', { laneCount: 56, repetitions: 1 });
