/** The scopes of every resource. */
export const scopesByRisk = {
  low: ['list', 'read'],
  medium: ['write', 'tag'],
  high: ['purge', 'admin'],
} as const;

const approvalsByRisk = { low: 0, medium: 1, high: 2 };

/** Returns how many approvals these scopes need, by the policies of this world. */
export function approvalsNeeded(scopes: readonly string[]): number {
  const risks = Object.keys(scopesByRisk) as (keyof typeof scopesByRisk)[];
  const needed = risks.filter((risk) => scopesByRisk[risk].some((name) => scopes.includes(name)));
  return Math.max(...needed.map((risk) => approvalsByRisk[risk]));
}
