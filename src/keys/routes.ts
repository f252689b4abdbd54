import { anyOrigin } from '../http/headers.ts';
import type { Handlers } from '../http/operation.ts';
import type { KeyRecord, KeysService } from './service.ts';
import { jwksMaxAgeSeconds } from './signing-key.ts';

function present(key: KeyRecord) {
  return {
    id: key.kid,
    alg: key.alg,
    status: key.state,
    created_at: key.createdAt.toISOString(),
    activated_at: key.activatedAt?.toISOString() ?? null,
    retiring_at: key.retiringAt?.toISOString() ?? null,
    retired_at: key.retiredAt?.toISOString() ?? null,
    compromised_at: key.compromisedAt?.toISOString() ?? null,
  };
}

type Operations = 'listKeys' | 'rotateKeys' | 'getJwks';

export function keyRoutes({ keys }: { keys: KeysService }): Pick<Handlers, Operations> {
  return {
    async listKeys() {
      return { status: 200, body: { items: (await keys.list()).map(present) } };
    },
    async rotateKeys({ body: { alg, key_id: kid, compromised, reason }, ...act }) {
      const concerned = await keys.rotate(act, { alg, kid, compromised, reason });
      return { status: 200, body: { items: concerned.map(present) } };
    },
    async getJwks() {
      const headers = { 'Cache-Control': `public, max-age=${jwksMaxAgeSeconds}`, ...anyOrigin };
      return { status: 200, body: await keys.jwks(), headers };
    },
  };
}
