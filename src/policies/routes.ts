import type { Act, Person } from '../caller.ts';
import type { components } from '../http/api.gen.ts';
import type { Cursors } from '../http/cursor.ts';
import type { Handlers } from '../http/operation.ts';
import type { Policy } from './policy.ts';
import type { PoliciesService } from './service.ts';

/**
 * Decides a request as `POST /v1/grants` would, with the current policies or with `cedar` in their place, and changes
 * nothing. Throws `not-found` and `invalid-policy`.
 */
export type Simulate = (
  act: Act<Person>,
  request: components['schemas']['Simulation'],
) => Promise<components['schemas']['SimulationResult']>;

function present(policy: Policy) {
  return {
    id: policy.id,
    name: policy.name,
    version: policy.version,
    cedar: policy.cedar,
    created_at: policy.createdAt.toISOString(),
    updated_at: policy.updatedAt.toISOString(),
    updated_by: policy.updatedBy,
  };
}

type Operations =
  | 'createPolicy'
  | 'listPolicies'
  | 'getPolicy'
  | 'updatePolicy'
  | 'deletePolicy'
  | 'simulatePolicies';

export function policyRoutes({
  policies,
  simulate,
  cursors,
}: {
  policies: PoliciesService;
  simulate: Simulate;
  cursors: Cursors;
}): Pick<Handlers, Operations> {
  return {
    async createPolicy({ body, ...act }) {
      const policy = await policies.create(act, body);
      return { status: 201, body: present(policy), headers: { Location: `/v1/policies/${policy.id}` } };
    },
    async listPolicies({ query: { limit = 50, cursor } }) {
      const [after] = cursors.read('policies', cursor) ?? [];
      const page = await policies.list({ limit, after });
      const next_cursor = cursors.next('policies', page, (policy) => [policy.id]);
      return { status: 200, body: { items: page.items.map(present), next_cursor } };
    },
    async getPolicy({ path }) {
      return { status: 200, body: present(await policies.get(path.policy_id)) };
    },
    async updatePolicy({ path, body, ...act }) {
      return { status: 200, body: present(await policies.update(act, path.policy_id, body)) };
    },
    async deletePolicy({ path, ...act }) {
      await policies.remove(act, path.policy_id);
      return { status: 204 };
    },
    async simulatePolicies({ body, ...act }) {
      return { status: 200, body: await simulate(act, body) };
    },
  };
}
