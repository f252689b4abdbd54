import { testMatrix } from './matrix.ts';

testMatrix('postgres', { laneCount: 40, repetitions: 1, isHalved: true });
