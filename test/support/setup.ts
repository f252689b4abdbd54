import { afterAll } from 'vitest';
import { finishAll } from './at-end.ts';

// This module runs before each test file, also if files share a process.
afterAll(finishAll);
