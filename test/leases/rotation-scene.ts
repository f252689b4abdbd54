import { expect } from 'vitest';
import { adminPassword, connection, resetTarget, runJob, type Scene, targetBody } from './scene.ts';

export type RotationScene = ReturnType<typeof createRotationScene>;

/** Returns what tests of password rotation do in a scene. */
export function createRotationScene(scene: Scene) {
  const { owner } = scene.broker.database;
  return {
    /** Forgets every target, and gives the admin account its first password again. */
    async reset(): Promise<void> {
      await resetTarget(scene);
      scene.server.ownPasswords.clear();
      await owner.query('update resources set connection_id = null; delete from preflights');
      await owner.query('delete from connections');
    },
    passwordInTarget: (): string => scene.server.ownPasswords.get(connection.username) ?? adminPassword,
    runRotation: (of: Scene = scene): Promise<void> => runJob(of, 'rotate-target-passwords'),
    rotate: ({ id }: { id: string }, of: Scene = scene) =>
      of.admin.post(`/v1/resources/${id}/rotate-password`),
    async createTarget(change: Record<string, unknown> = {}) {
      return (await scene.admin.post('/v1/resources', targetBody(change)).expect(201)).body;
    },
    /** Expects that the broker can log in: its test of the target finds no problems. */
    async expectWorks({ id }: { id: string }): Promise<void> {
      const { body } = await scene.admin.post(`/v1/resources/${id}/preflight`).expect(200);
      expect(body.problems).toEqual([]);
    },
    async eventsOf({ id }: { id: string }): Promise<string[]> {
      const { rows } = await owner.query<{ type: string }>(
        "select type from audit_events where object_id = $1 and type like 'target.password%' order by id",
        [id],
      );
      return rows.map(({ type }) => type.replace('target.password_', ''));
    },
  };
}
