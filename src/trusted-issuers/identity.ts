import { isCleanText } from '../platform/text.ts';
import { type Conditions, conditionsProblem, readClaim } from './conditions.ts';

/** The claims that distinguish a workload from the others of a trusted issuer. */
export interface ClaimTuple {
  /** The exact `sub` of its tokens; null if any `sub` is accepted. */
  subject: string | null;
  /** Further claims that its tokens must have. Without a subject, one of them names the tenant. */
  claims: Conditions;
}

/**
 * Claims whose value belongs to one customer of a platform with many customers, so that no other customer's token has it.
 * Claims that fewer tokens share come first. Names that are unique only within a customer, such as a branch or the
 * slug of a pipeline, are not in the list.
 */
const knownTenantClaims: readonly string[] = [
  // GitHub Actions
  ...[
    'repository_id',
    'repository',
    'repository_owner_id',
    'repository_owner',
    'enterprise_id',
    'enterprise',
  ],
  // GitLab CI/CD
  ...['project_id', 'project_path', 'namespace_id', 'namespace_path'],
  // Buildkite
  ...['pipeline_id', 'organization_id', 'organization_slug'],
  // Bitbucket Pipelines
  ...['repositoryUuid', 'workspaceUuid'],
  // CircleCI
  ...['oidc.circleci.com/project-id', 'oidc.circleci.com/org-id'],
  // HCP Terraform
  ...[
    'terraform_workspace_id',
    'terraform_project_id',
    'terraform_organization_id',
    'terraform_organization_name',
  ],
];

/** The longest `name=value`, longer than any that can be registered. */
const longestClaim = 2_048;

/** Describes what is wrong with the claims of an identity; undefined if they are valid. */
export function tupleProblem(
  tuple: ClaimTuple,
  { issuer, tenantClaims }: { issuer: string; tenantClaims: readonly string[] },
): string | undefined {
  const { subject, claims } = tuple;
  return (
    (subject === null ? tenantProblem(tuple, tenantClaims) : subjectProblem(subject, issuer)) ??
    conditionsProblem(claims)
  );
}

/**
 * Describes what is wrong with a subject. A token whose `sub` is its issuer is the client's own assertion. A SPIFFE
 * ID must be of the issuer's trust domain.
 */
function subjectProblem(subject: string, issuer: string): string | undefined {
  if (subject.includes('*'))
    return 'identity.subject has a *, which would be compared as a character: a subject is not a pattern';
  if (subject === issuer) return 'identity.subject must not be the issuer itself';
  if (issuer.startsWith('spiffe:') && !subject.startsWith(`${issuer}/`))
    return 'identity.subject must be a SPIFFE ID of the trust domain';
  return undefined;
}

function tenantProblem(tuple: ClaimTuple, tenantClaims: readonly string[]): string | undefined {
  if (identifyingClaim(tuple, tenantClaims) !== undefined) return undefined;
  const names = tenantClaims.length === 0 ? '' : ` or ${tenantClaims.join(', ')}`;
  return (
    'an identity without a subject needs a claim that names the tenant, with one value: ' +
    `a known one such as repository_id, project_id or organization_slug${names}; ` +
    'name others in tenant_claims of the trusted issuer'
  );
}

/**
 * Returns the claim by which a token finds an identity, as `name=value`: the subject, or the first claim with one value that
 * names the tenant. Returns undefined if no claim does.
 */
export function identifyingClaim(
  { subject, claims }: ClaimTuple,
  tenantClaims: readonly string[],
): string | undefined {
  if (subject !== null) return nameValue('sub', subject);
  for (const name of [...tenantClaims, ...knownTenantClaims]) {
    const claim = Object.hasOwn(claims, name) ? nameValue(name, claims[name]) : undefined;
    if (claim !== undefined) return claim;
  }
  return undefined;
}

/** Returns the claims of a token by which it may find an identity of an issuer, as `name=value`. */
export function toIdentifyingClaims(
  claims: Record<string, unknown>,
  tenantClaims: readonly string[],
): string[] {
  return ['sub', ...tenantClaims, ...knownTenantClaims]
    .map((name) => nameValue(name, readClaim(claims, name)))
    .filter((claim) => claim !== undefined);
}

/**
 * Formats a claim as `name=value`. Returns undefined for a value that identifies nothing, or that no condition can
 * equal.
 */
function nameValue(name: string, value: unknown): string | undefined {
  if (typeof value !== 'number' && (typeof value !== 'string' || value === '')) return undefined;
  const text = `${name}=${value}`;
  return text.length <= longestClaim && isCleanText(text) ? text : undefined;
}
