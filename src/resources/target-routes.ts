import type { Handlers } from '../http/operation.ts';
import type { PasswordRotation } from './connections/rotation.ts';
import { presentPreflight } from './present.ts';
import type { ResourcesService } from './service.ts';

interface TargetRoutesDeps {
  resources: Pick<ResourcesService, 'testTarget'>;
  passwordRotation: Pick<PasswordRotation, 'rotate'>;
}

export function targetRoutes({
  resources,
  passwordRotation,
}: TargetRoutesDeps): Pick<Handlers, 'testResourceTarget' | 'rotateTargetPassword'> {
  return {
    async testResourceTarget({ path, ...act }) {
      return { status: 200, body: presentPreflight(await resources.testTarget(act, path.resource_id)) };
    },
    async rotateTargetPassword({ path, ...act }) {
      const changedAt = await passwordRotation.rotate(act, path.resource_id);
      return { status: 200, body: { changed_at: changedAt.toISOString() } };
    },
  };
}
