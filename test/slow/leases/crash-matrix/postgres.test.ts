import { testMatrix } from './matrix.ts';

testMatrix('postgres', { laneCount: 24, repetitions: 1, stride: 4 });
