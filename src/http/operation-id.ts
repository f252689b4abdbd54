import type { operations } from './api.gen.ts';

/** Every operation of openapi.yaml. */
export type OperationId = keyof operations;

/** The operations that bypass Express and have their own form parser. */
export const leanOperations = ['issueToken', 'introspectToken', 'revokeToken'] as const;
export type LeanOperationId = (typeof leanOperations)[number];

/** The operations that Express routes. */
export type RoutedOperationId = Exclude<OperationId, LeanOperationId>;
