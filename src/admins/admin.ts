import type { Role } from '../caller.ts';
import { addSeconds } from '../platform/clock.ts';

export const roles: readonly Role[] = ['admin', 'approver', 'auditor'];

export interface Admin {
  id: string;
  name: string;
  /** In lower case. */
  email: string;
  roles: Role[];
  groups: string[];
  createdAt: Date;
  updatedAt: Date;
}

export interface AdminKey {
  id: string;
  name: string;
  issuedBy: string | null;
  createdAt: Date;
  expiresAt: Date;
  revokedAt: Date | null;
  lastUsedAt: Date | null;
}

const defaultKeySeconds = 90 * 24 * 3600;
const maxKeySeconds = 366 * 24 * 3600;

/**
 * Returns when a key that is created at `now` expires: at the requested time, or after 90 days. Returns undefined if
 * the requested time is in the past or more than 366 days away.
 */
export function keyExpiry(now: Date, requested: Date | undefined): Date | undefined {
  if (requested === undefined) return addSeconds(now, defaultKeySeconds);
  return requested > now && requested <= addSeconds(now, maxKeySeconds) ? requested : undefined;
}

/** Returns the address in lower case, the form in which addresses are compared. */
export function normaliseEmail(email: string): string {
  return email.toLowerCase();
}

/**
 * Whether a bootstrap key has the form of a generated key, `hpa_` and at least 32 characters of `[A-Za-z0-9_]`, and
 * at least 10 distinct characters.
 */
export function isBootstrapKey(key: string): boolean {
  return /^hpa_[A-Za-z0-9_]{32,}$/.test(key) && new Set(key.slice(4)).size >= 10;
}

export interface Approver {
  id: string;
  groups: string[];
  /** Whether the person has a valid key, and so could approve now. */
  hasKey: boolean;
}
