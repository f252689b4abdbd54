import type {
  CredentialInput,
  NewUpstream,
  UpstreamCredentialView,
  UpstreamTerms,
  UpstreamView,
} from './upstream.ts';

interface UpstreamBody {
  base_url?: string;
  credential?: CredentialInput;
  tls?: { ca?: string };
  timeouts?: { connect_seconds?: number; response_seconds?: number; idle_seconds?: number };
}

/** Converts the upstream in the body of a request. A member that the body does not have is undefined. */
export function toUpstreamTerms({
  base_url: baseUrl,
  credential,
  tls,
  timeouts,
}: UpstreamBody): UpstreamTerms {
  return {
    baseUrl,
    credential,
    tls,
    timeouts: timeouts && {
      connectSeconds: timeouts.connect_seconds,
      responseSeconds: timeouts.response_seconds,
      idleSeconds: timeouts.idle_seconds,
    },
  };
}

/** Converts the upstream of a new resource. */
export function toNewUpstream(
  body: UpstreamBody & Pick<NewUpstream, 'protocol' | 'credential'> & { base_url: string },
): NewUpstream {
  const { base_url: baseUrl, protocol, credential } = body;
  return { ...toUpstreamTerms(body), baseUrl, protocol, credential };
}

/** Converts an upstream to its representation in the API, with its URL at the gateway, if there is one. */
export function presentUpstream(upstream: UpstreamView | null, gatewayUrl: string | undefined) {
  if (upstream === null) return { slug: null, gateway_url: null, upstream: null };
  const { slug, baseUrl, protocol, credential, ca } = upstream;
  return {
    slug,
    gateway_url: gatewayUrl === undefined ? null : `${gatewayUrl}/${slug}`,
    upstream: {
      base_url: baseUrl,
      protocol,
      credential,
      tls: ca === null ? {} : { ca },
      timeouts: {
        connect_seconds: upstream.connectSeconds,
        response_seconds: upstream.responseSeconds,
        idle_seconds: upstream.idleSeconds,
      },
    },
  };
}

export function presentCredential({ id, createdAt, createdBy, activatesAt }: UpstreamCredentialView) {
  return {
    id,
    created_at: createdAt.toISOString(),
    created_by: createdBy,
    activates_at: activatesAt.toISOString(),
  };
}
