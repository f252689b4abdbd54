import type { Random } from '../platform/random.ts';

const digits = 'abcdefghijklmnopqrstuvwxyz234567';

/** Returns what the names of all accounts begin with that an installation makes, on any target. */
export function accountPrefix(installationId: string): string {
  return `hp_${installationId}_`;
}

/** Makes a new account name: the prefix of the installation, and 80 random bits as 16 characters. */
export function nextAccountName(installationId: string, random: Random): string {
  const suffix = [...random.bytes(16)].map((byte) => digits[byte % digits.length]).join('');
  return accountPrefix(installationId) + suffix;
}
