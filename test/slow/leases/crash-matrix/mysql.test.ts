import { testMatrix } from './matrix.ts';

testMatrix('mysql', { laneCount: 40, repetitions: 1, isHalved: true });
