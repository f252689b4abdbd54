import type { Engine } from './engine.ts';

/** The kinds of targets in which the broker makes accounts. */
export type EngineKind = 'postgres';

/** One row for each engine. Nothing else lists them. */
export const engines: Readonly<Record<EngineKind, Engine>> = {} as Record<EngineKind, Engine>;

export const engineKinds = Object.keys(engines) as EngineKind[];
