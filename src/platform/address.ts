import ipaddr from 'ipaddr.js';

/**
 * The one spelling of an IP address: zone ids removed, IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2) as IPv4.
 * Undefined for what is no address; IPv4 only with four decimal parts.
 */
export function normaliseAddress(text: string): string | undefined {
  const bare = text.replace(/%.*$/s, '');
  if (ipaddr.IPv4.isValidFourPartDecimal(bare)) return ipaddr.IPv4.parse(bare).toString();
  return ipaddr.IPv6.isValid(bare) ? ipaddr.process(bare).toString() : undefined;
}

const subnetParts = 4;

/**
 * What one subscriber has of addresses, by one of them as `normaliseAddress` writes it: the address itself if it is
 * IPv4, the /64 of an IPv6 one (RFC 6177: no site gets less).
 */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const parts = ipaddr.IPv6.parse(address).parts.slice(0, subnetParts);
  return `${parts.map((part) => part.toString(16)).join(':')}::/64`;
}
