import { testMatrix } from './matrix.ts';

testMatrix('rabbitmq', { laneCount: 32, repetitions: 1 });
