import type { NewAdminPassword, TargetConnection, TargetOptions } from '../../src/engines/engine.ts';
import { createAddressRules } from '../../src/outbound/address-rules.ts';
import { createTargetSockets } from '../../src/outbound/target-socket.ts';
import { createSystemRandom } from '../../src/platform/random.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** Returns the options of a target on this machine. Its clock stands still, months behind that of a real server. */
export function targetOptions(url: string, change: Partial<TargetConnection> = {}): TargetOptions {
  const { hostname, port, username, password, pathname } = new URL(url);
  const address = { host: hostname, port: Number(port) };
  return {
    connection: {
      ...address,
      username: decodeURIComponent(username),
      password: decodeURIComponent(password),
      database: decodeURIComponent(pathname.slice(1)),
      tls: { mode: 'off' },
      replicas: [],
      endpoint: address,
      ownedObjects: 'keep',
      ...change,
    },
    createSocket: createTargetSockets({ isAllowed: createAddressRules(['127.0.0.0/8']) }),
    maxConnections: 4,
    timeoutMs: 20_000,
    clock: new FakeClock(),
    random: createSystemRandom(),
  };
}

/** Returns a change to `password` whose deadline no test reaches. */
export function soon(password: string): NewAdminPassword {
  return { password, deadline: new Date('2100-01-01T00:00:00Z') };
}
