import ipaddr from 'ipaddr.js';
import { normaliseAddress } from '../platform/address.ts';

/** Whether a connection may be made to this address; false for what is no address. */
export type AddressRules = (address: string) => boolean;

/** All of the IPv6 space that is given out to anybody (RFC 4291 section 2.4, IANA IPv6 address space). */
const globalUnicast = ipaddr.parseCIDR('2000::/3');

/**
 * Public unicast addresses, and those in `allowed` (CIDR blocks). What is private, link-local, loopback, shared,
 * documentation, multicast, reserved, or an IPv4 address in any IPv6 clothes (mapped, 6to4, Teredo, NAT64), is not.
 * Throws on what is no CIDR block.
 */
export function createAddressRules(allowed: readonly string[]): AddressRules {
  const blocks = allowed.map((block) => ipaddr.parseCIDR(block));
  return (text) => {
    const spelling = normaliseAddress(text);
    if (spelling === undefined) return false;
    const address = ipaddr.parse(spelling);
    if (blocks.some((block) => address.kind() === block[0].kind() && address.match(block))) return true;
    return address.range() === 'unicast' && (address.kind() === 'ipv4' || address.match(globalUnicast));
  };
}
