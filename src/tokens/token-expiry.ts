import { toEpochSeconds } from '../platform/clock.ts';

/** Returns the earliest expiry of a token minted at `now`: claims are in whole seconds, and `exp` exceeds `iat`. */
export function usableUntil(now: Date): Date {
  return new Date((toEpochSeconds(now) + 1) * 1000);
}

/**
 * Computes the expiry of a token minted at `now`, in seconds since the epoch: after `ttlSeconds`,
 * but not after any of `ends`. A token that would expire within the same second cannot be minted.
 */
export function tokenExpiry(
  now: Date,
  ttlSeconds: number,
  ends: readonly (Date | null | undefined)[],
): number {
  let expiry = toEpochSeconds(now) + ttlSeconds;
  for (const end of ends) if (end) expiry = Math.min(expiry, toEpochSeconds(end));
  return expiry;
}
