import { testMatrix } from './matrix.ts';

testMatrix('rabbitmq', { laneCount: 64, repetitions: 1 });
