import type { Role } from '../caller.ts';
import { addSeconds } from '../platform/clock.ts';

export const roles: readonly Role[] = ['admin', 'approver', 'auditor'];

export interface Admin {
  id: string;
  name: string;
  /** Lower-cased. */
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

/** When a key made at `now` ends: as asked, or after 90 days. Undefined if what is asked is past or over 366 days away. */
export function keyExpiry(now: Date, asked: Date | undefined): Date | undefined {
  if (asked === undefined) return addSeconds(now, defaultKeySeconds);
  return asked > now && asked <= addSeconds(now, maxKeySeconds) ? asked : undefined;
}

/** The address as it is compared: people do not tell apart the case of e-mail addresses. */
export function normaliseEmail(email: string): string {
  return email.toLowerCase();
}

/** A bootstrap key must look like the keys we make: `hpa_` and at least 32 characters of `[A-Za-z0-9_]`. */
export function isBootstrapKey(key: string): boolean {
  return /^hpa_[A-Za-z0-9_]{32,}$/.test(key) && new Set(key.slice(4)).size >= 10;
}
