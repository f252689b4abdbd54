import type { Role } from '../caller.ts';
import type { RoutedOperationId } from './operation-id.ts';

/**
 * `anyone` needs no credential; `agent` allows every agent, `person` every person, and a role every person who has
 * it.
 */
export type Access = 'anyone' | 'agent' | 'person' | Role;

/**
 * The roles that may call each operation. The check and its test both use this table, and an operation of the
 * contract that is missing here does not compile.
 */
export const access = {
  getHealth: ['anyone'],
  getReadiness: ['anyone'],
  getContract: ['anyone'],
  createAdmin: ['admin'],
  listAdmins: ['admin'],
  getAdmin: ['admin'],
  updateAdmin: ['admin'],
  deleteAdmin: ['admin'],
  createAdminKey: ['admin'],
  revokeAdminKey: ['admin'],
  createAgent: ['admin'],
  listAgents: ['admin'],
  getAgent: ['admin'],
  updateAgent: ['admin'],
  deleteAgent: ['admin'],
  disableAgent: ['admin'],
  enableAgent: ['admin'],
  createAgentSecret: ['admin'],
  revokeAgentSecret: ['admin'],
  createTrustedIssuer: ['admin'],
  listTrustedIssuers: ['admin'],
  getTrustedIssuer: ['admin'],
  updateTrustedIssuer: ['admin'],
  deleteTrustedIssuer: ['admin'],
  checkTrustedIssuerToken: ['admin'],
  createResource: ['admin'],
  listResources: ['admin'],
  getResource: ['admin'],
  getResourceMetadata: ['admin'],
  updateResource: ['admin'],
  deleteResource: ['admin'],
  createResourceSecret: ['admin'],
  revokeResourceSecret: ['admin'],
  createUpstreamCredential: ['admin'],
  deleteUpstreamCredential: ['admin'],
  createPolicy: ['admin'],
  listPolicies: ['admin'],
  getPolicy: ['admin'],
  updatePolicy: ['admin'],
  deletePolicy: ['admin'],
  simulatePolicies: ['admin'],
  testResourceTarget: ['admin'],
  rotateTargetPassword: ['admin'],
  reconcileTarget: ['admin'],
  createLease: ['agent'],
  listLeases: ['agent', 'admin'],
  getLease: ['agent', 'admin'],
  renewLease: ['agent'],
  revokeLease: ['agent', 'admin'],
  listCalls: ['agent', 'admin', 'auditor'],
  createGrant: ['agent'],
  listGrants: ['agent', 'person'],
  getGrant: ['agent', 'person'],
  approveGrant: ['approver'],
  denyGrant: ['approver'],
  cancelGrant: ['agent'],
  returnGrant: ['agent'],
  revokeGrant: ['admin', 'approver'],
  listKeys: ['admin'],
  rotateKeys: ['admin'],
  listJobs: ['admin'],
  listAuditEvents: ['auditor', 'admin'],
  getJwks: ['anyone'],
  refuseAuthorization: ['anyone'],
  getAuthorizationServerMetadata: ['anyone'],
  getOpenidConfiguration: ['anyone'],
  getProtectedResourceMetadata: ['anyone'],
} as const satisfies Record<RoutedOperationId, readonly Access[]>;

export type AccessTable = typeof access;

/** Whether a caller of `kind`, with `roles` if it is a person, may call `operation`. */
export function mayCall(
  operation: RoutedOperationId,
  caller: { kind: 'agent' } | { kind: 'person'; roles: readonly Role[] },
): boolean {
  const allowed: readonly Access[] = access[operation];
  if (allowed.includes('anyone') || allowed.includes(caller.kind)) return true;
  return caller.kind === 'person' && caller.roles.some((role) => allowed.includes(role));
}
