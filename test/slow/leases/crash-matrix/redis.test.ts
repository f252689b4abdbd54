import { testMatrix } from './matrix.ts';

testMatrix('redis', { laneCount: 40, repetitions: 1, isHalved: true });
