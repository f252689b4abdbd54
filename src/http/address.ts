import type { IncomingMessage } from 'node:http';
import ipaddr from 'ipaddr.js';
import { normaliseAddress } from '../platform/address.ts';

type Range = [ipaddr.IPv4 | ipaddr.IPv6, number];

/**
 * Reads a request's client address. Without trusted proxies it is the socket's; with them, the right-most
 * address of `X-Forwarded-For` that is not one of them. Whatever an untrusted peer claims is ignored.
 */
export function createAddressReader(trustedProxies: readonly string[]): (request: IncomingMessage) => string {
  const ranges: Range[] = trustedProxies.map((cidr) => ipaddr.parseCIDR(cidr));
  const trusted = (address: string): boolean => {
    const parsed = ipaddr.process(address);
    return ranges.some((range) => parsed.kind() === range[0].kind() && parsed.match(range));
  };
  return (request) => {
    const peer = normaliseAddress(request.socket.remoteAddress ?? '') ?? '0.0.0.0';
    if (ranges.length === 0 || !trusted(peer)) return peer;
    const forwarded = (request.headersDistinct['x-forwarded-for'] ?? []).join(',').split(',');
    let nearest = peer;
    for (const claim of forwarded.reverse()) {
      const address = normaliseAddress(claim.trim());
      if (address === undefined) return nearest;
      nearest = address;
      if (!trusted(address)) return address;
    }
    return nearest;
  };
}
