import { testMatrix } from './matrix.ts';

testMatrix('mysql', { laneCount: 16, repetitions: 1, stride: 8 });
