import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import ipaddr from 'ipaddr.js';
import { normaliseAddress } from '../platform/address.ts';
import { headerValues } from './header-values.ts';

type Range = [ipaddr.IPv4 | ipaddr.IPv6, number];

/** Removes the port that some proxies add: `192.0.2.1:443`, `[2001:db8::1]:443`. */
function withoutPort(claim: string): string {
  return claim.replace(/^\[(.*)\](:\d+)?$/, '$1').replace(/^([^:]*):\d+$/, '$1');
}

/**
 * Creates a function that reads a request's client address. Without trusted proxies this is the address of the
 * socket; with them, the right-most address of `X-Forwarded-For` that is not a trusted proxy. The header is ignored
 * if the peer is not a trusted proxy.
 */
export function createAddressReader(trustedProxies: readonly string[]): (request: IncomingMessage) => string {
  const ranges: Range[] = trustedProxies.map((cidr) => ipaddr.parseCIDR(cidr));
  const trusted = (address: string): boolean => {
    const parsed = ipaddr.process(address);
    return ranges.some((range) => parsed.kind() === range[0].kind() && parsed.match(range));
  };
  // The peer address of a connection never changes.
  const peers = new WeakMap<Socket, string>();
  const peerOf = (socket: Socket): string => {
    const known = peers.get(socket);
    if (known !== undefined) return known;
    const peer = normaliseAddress(socket.remoteAddress ?? '') ?? '0.0.0.0';
    peers.set(socket, peer);
    return peer;
  };
  return (request) => {
    const peer = peerOf(request.socket);
    if (ranges.length === 0 || !trusted(peer)) return peer;
    const forwarded = headerValues(request, 'x-forwarded-for').join(',').split(',');
    let nearest = peer;
    for (const claim of forwarded.reverse()) {
      const address = normaliseAddress(withoutPort(claim.trim()));
      if (address === undefined) return nearest;
      nearest = address;
      if (!trusted(address)) return address;
    }
    return nearest;
  };
}
