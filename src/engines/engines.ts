import type { Engine } from './engine.ts';
import { postgres } from './postgres/engine.ts';

/** Every kind of target in which the broker makes accounts. Invariant: nothing else in the code base enumerates them. */
const table = { postgres } satisfies Record<string, Engine>;

export type EngineKind = keyof typeof table;

export const engines: Readonly<Record<EngineKind, Engine>> = table;
export const engineKinds = Object.keys(table) as [EngineKind, ...EngineKind[]];

export function isEngineKind(text: string): text is EngineKind {
  return Object.hasOwn(table, text);
}
