import type { operations } from './api.gen.ts';

/** Every operation of openapi.yaml. */
export type OperationId = keyof operations;

/** Operations that are answered before Express, by a form reader of their own. */
export const leanOperations = ['issueToken', 'introspectToken', 'revokeToken'] as const;
export type LeanOperationId = (typeof leanOperations)[number];

/** Operations that Express routes. */
export type RoutedOperationId = Exclude<OperationId, LeanOperationId>;
