import { testMatrix } from './matrix.ts';

testMatrix('rabbitmq', { laneCount: 40, repetitions: 1, isHalved: true });
