export const grantStatuses = [
  'pending',
  'scheduled',
  'active',
  'denied',
  'cancelled',
  'lapsed',
  'expired',
  'revoked',
  'returned',
] as const;
export type GrantStatus = (typeof grantStatuses)[number];

/** The allowed transitions of a grant. A state without transitions is final. */
const transitions: Record<GrantStatus, readonly GrantStatus[]> = {
  pending: ['active', 'scheduled', 'denied', 'cancelled', 'lapsed'],
  scheduled: ['active', 'cancelled', 'revoked'],
  active: ['expired', 'revoked', 'returned'],
  denied: [],
  cancelled: [],
  lapsed: [],
  expired: [],
  revoked: [],
  returned: [],
};

export function canMove(from: GrantStatus, to: GrantStatus): boolean {
  return transitions[from].includes(to);
}

export function hasEnded(status: GrantStatus): boolean {
  return transitions[status].length === 0;
}
