import { testMatrix } from './matrix.ts';

testMatrix('redis', { laneCount: 16, repetitions: 1, stride: 4 });
