import type { Engine } from './engine.ts';
import { mysql } from './mysql/engine.ts';
import { postgres } from './postgres/engine.ts';
import { rabbitmq } from './rabbitmq/engine.ts';
import { redis } from './redis/engine.ts';
import type { EngineKind } from './terms.ts';

export type Engines = Readonly<Record<EngineKind, Engine>>;

/** The engine of each kind of target. */
export const engines: Engines = { postgres, mysql, redis, rabbitmq };
