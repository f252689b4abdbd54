import { testMatrix } from './matrix.ts';

testMatrix('rabbitmq', { laneCount: 12, repetitions: 1, stride: 6 });
