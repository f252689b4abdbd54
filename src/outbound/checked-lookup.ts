import { isIP, type LookupFunction } from 'node:net';
import type { AddressRules } from './address-rules.ts';
import { OutboundFailure } from './outbound-failure.ts';
import type { Resolve } from './resolve.ts';

/**
 * Creates a look-up for `net.connect` that fails with `OutboundFailure` unless every address of the name is allowed: a mix
 * suggests DNS rebinding. The connection goes to the addresses that it returns, so a later answer changes nothing.
 */
export function createCheckedLookup(resolve: Resolve, isAllowed: AddressRules): LookupFunction {
  const find = async (hostname: string): Promise<string[]> => {
    const addresses = await resolve(hostname).catch((cause: unknown) => {
      throw new OutboundFailure('name-not-found', { cause });
    });
    if (addresses.length === 0) throw new OutboundFailure('name-not-found');
    if (!addresses.every(isAllowed)) throw new OutboundFailure('address-not-allowed');
    return [...addresses];
  };
  return (hostname, { all = false }, callback) => {
    find(hostname).then(
      (addresses) => {
        const found = addresses.map((address) => ({ address, family: isIP(address) }));
        if (all) callback(null, found);
        else callback(null, found[0]?.address ?? '', found[0]?.family);
      },
      (error: Error) => callback(error, ''),
    );
  };
}
