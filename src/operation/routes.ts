import type { Handlers } from '../http/operation.ts';
import type { Readiness } from './readiness.ts';

export interface OperationDeps {
  contract: object;
  readiness: () => Promise<Readiness>;
}

export function operationRoutes(
  deps: OperationDeps,
): Pick<Handlers, 'getHealth' | 'getReadiness' | 'getContract'> {
  const contract = deps.contract as Record<string, unknown>;
  return {
    getHealth: async () => ({ status: 200, body: { status: 'ok' } }),
    async getReadiness() {
      const { ready, checks } = await deps.readiness();
      return ready
        ? { status: 200, body: { status: 'ready', checks } }
        : { status: 503, body: { status: 'not ready', checks } };
    },
    getContract: async () => ({ status: 200, body: contract }),
  };
}
