import { afterAll } from 'vitest';
import { finishAll } from './at-end.ts';

// Runs before each test file, also where files share a process.
afterAll(finishAll);
