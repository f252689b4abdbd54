import ipaddr from 'ipaddr.js';
import { normaliseAddress } from '../platform/address.ts';

/** Whether the broker may connect to this address; false for a string that is not an address. */
export type AddressRules = (address: string) => boolean;

/** The part of the IPv6 space that is allocated for global unicast (RFC 4291 section 2.4, IANA IPv6 address space). */
const globalUnicast = ipaddr.parseCIDR('2000::/3');

/**
 * Creates rules that allow public unicast addresses and the CIDR blocks in `allowed`. Private, link-local, loopback,
 * shared, documentation, multicast and reserved addresses are refused, and so is an IPv4 address within an IPv6
 * address (mapped, 6to4, Teredo, NAT64). Throws if `allowed` has an invalid CIDR block.
 */
export function createAddressRules(allowed: readonly string[]): AddressRules {
  const isListed = createListedRules(allowed);
  return (text) => {
    const spelling = normaliseAddress(text);
    if (spelling === undefined) return false;
    if (isListed(spelling)) return true;
    const address = ipaddr.parse(spelling);
    return address.range() === 'unicast' && (address.kind() === 'ipv4' || address.match(globalUnicast));
  };
}

/** Creates rules that allow the CIDR blocks in `allowed` alone. Throws if one is invalid. */
export function createListedRules(allowed: readonly string[]): AddressRules {
  const blocks = allowed.map((block) => ipaddr.parseCIDR(block));
  return (text) => {
    const spelling = normaliseAddress(text);
    if (spelling === undefined) return false;
    const address = ipaddr.parse(spelling);
    return blocks.some((block) => address.kind() === block[0].kind() && address.match(block));
  };
}

/** Allows loopback addresses only: traffic to them does not leave the machine. */
export const isLoopback: AddressRules = (text) => {
  const spelling = normaliseAddress(text);
  return spelling !== undefined && ipaddr.parse(spelling).range() === 'loopback';
};
