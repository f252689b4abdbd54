import type { Cursors } from '../http/cursor.ts';
import type { Handlers } from '../http/operation.ts';
import type { Admin, AdminKey } from './admin.ts';
import type { AdminsService } from './service.ts';

function present(admin: Admin) {
  return {
    id: admin.id,
    name: admin.name,
    email: admin.email,
    roles: admin.roles,
    groups: admin.groups,
    created_at: admin.createdAt.toISOString(),
    updated_at: admin.updatedAt.toISOString(),
  };
}

function presentKey(key: AdminKey) {
  return {
    id: key.id,
    name: key.name,
    issued_by: key.issuedBy,
    created_at: key.createdAt.toISOString(),
    expires_at: key.expiresAt.toISOString(),
    revoked_at: key.revokedAt?.toISOString() ?? null,
    last_used_at: key.lastUsedAt?.toISOString() ?? null,
  };
}

type Operations =
  | 'createAdmin'
  | 'listAdmins'
  | 'getAdmin'
  | 'updateAdmin'
  | 'deleteAdmin'
  | 'createAdminKey'
  | 'revokeAdminKey';

export function adminRoutes({
  admins,
  cursors,
}: {
  admins: AdminsService;
  cursors: Cursors;
}): Pick<Handlers, Operations> {
  return {
    async createAdmin({ body, ...act }) {
      const admin = await admins.create(act, { ...body, groups: body.groups ?? [] });
      return { status: 201, body: present(admin), headers: { Location: `/v1/admins/${admin.id}` } };
    },
    async listAdmins({ query: { limit = 50, cursor } }) {
      const [after] = cursors.read('admins', cursor) ?? [];
      const page = await admins.list({ limit, after });
      const next_cursor = cursors.next('admins', page, (admin) => [admin.id]);
      return { status: 200, body: { items: page.items.map(present), next_cursor } };
    },
    async getAdmin({ path }) {
      const admin = await admins.get(path.admin_id);
      return { status: 200, body: { ...present(admin), keys: admin.keys.map(presentKey) } };
    },
    async updateAdmin({ path, body, ...act }) {
      return { status: 200, body: present(await admins.update(act, path.admin_id, body)) };
    },
    async deleteAdmin({ path, ...act }) {
      await admins.remove(act, path.admin_id);
      return { status: 204 };
    },
    async createAdminKey({ path, body, ...act }) {
      const expiresAt = body.expires_at === undefined ? undefined : new Date(body.expires_at);
      const issued = await admins.issueKey(act, { adminId: path.admin_id, name: body.name, expiresAt });
      return {
        status: 201,
        body: { id: issued.id, key: issued.key, expires_at: issued.expiresAt.toISOString() },
      };
    },
    async revokeAdminKey({ path, ...act }) {
      await admins.revokeKey(act, { adminId: path.admin_id, keyId: path.key_id });
      return { status: 204 };
    },
  };
}
