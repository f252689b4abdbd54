import ipaddr from 'ipaddr.js';

/**
 * Returns the normal form of an IP address: without a zone id, and IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2) as
 * IPv4. Returns undefined if `text` is not an address. IPv4 addresses must have four decimal parts.
 */
export function normaliseAddress(text: string): string | undefined {
  const bare = text.replace(/%.*$/s, '');
  if (ipaddr.IPv4.isValidFourPartDecimal(bare)) return ipaddr.IPv4.parse(bare).toString();
  return ipaddr.IPv6.isValid(bare) ? ipaddr.process(bare).toString() : undefined;
}

const subnetParts = 4;

/**
 * Returns the network that one subscriber has, from an address as `normaliseAddress` writes it: an IPv4 address itself, or
 * the /64 of an IPv6 address (RFC 6177: no site gets less).
 */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const parts = ipaddr.IPv6.parse(address).parts.slice(0, subnetParts);
  return `${parts.map((part) => part.toString(16)).join(':')}::/64`;
}
