import type { TargetConnection, TargetOptions } from '../../../src/engines/engine.ts';
import { redis } from '../../../src/engines/redis/engine.ts';
import { type ContractSubject, createAccounts, openTarget } from '../contract.ts';
import { targetOptions } from '../target-options.ts';
import type { RedisServer } from './server.ts';

/** Returns what the contract needs of a server. */
export function toSubject({ port, admin }: RedisServer, replicas: readonly RedisServer[] = []) {
  const options = targetOptions(`redis://${admin.username}:${admin.password}@127.0.0.1:${port}/`, {
    database: undefined,
    replicas: replicas.map((replica) => ({ host: '127.0.0.1', port: replica.port })),
  });
  return {
    engine: redis,
    options,
    mappings: [
      { rules: '~orders:* +get +set' },
      { rules: '%R~stock:* &news:* +@read +@pubsub (~own:* +del)' },
    ],
    missing: { rules: '~orders:* +no.such.command' },
  } satisfies ContractSubject;
}

/** Opens the target of a server, with what tests need of it. */
export function useServer(
  server: RedisServer,
  change: Partial<TargetConnection> & Partial<Pick<TargetOptions, 'timeoutMs' | 'createSocket'>> = {},
) {
  const { timeoutMs, createSocket, ...connection } = change;
  const subject = toSubject(server);
  const options = {
    ...subject.options,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(createSocket === undefined ? {} : { createSocket }),
  };
  const target = openTarget(redis, options, connection);
  return { target, subject, accounts: createAccounts(subject, target) };
}
