import { isIP, Socket } from 'node:net';
import { type AddressRules, isLoopback } from './address-rules.ts';
import { createCheckedLookup } from './checked-lookup.ts';
import { OutboundFailure } from './outbound-failure.ts';
import { createResolve, type Resolve } from './resolve.ts';

export interface TargetSocketOptions {
  /** The addresses of targets. */
  isAllowed: AddressRules;
  /** The addresses among them to which the broker may connect without TLS. Loopback by default. */
  isAllowedInPlaintext?: AddressRules;
  resolve?: Resolve;
}

/**
 * Creates the sockets for protocols of targets, which are not HTTP. A socket is not connected yet. Its `connect(port,
 * host)` connects only to an address that was checked: `host` itself if it is an IP address, otherwise the addresses of the
 * name. It emits `OutboundFailure` (`address-not-allowed`, `name-not-found`) as its error.
 *
 * @returns a function whose `encrypted` says whether TLS will follow on the socket
 */
export function createTargetSockets(options: TargetSocketOptions): (use: { encrypted: boolean }) => Socket {
  const { isAllowed, isAllowedInPlaintext = isLoopback, resolve = createResolve() } = options;
  const inPlaintext: AddressRules = (address) => isAllowed(address) && isAllowedInPlaintext(address);
  return ({ encrypted }) => new GuardedSocket(encrypted ? isAllowed : inPlaintext, resolve);
}

class GuardedSocket extends Socket {
  readonly #isAllowed: AddressRules;
  readonly #resolve: Resolve;

  constructor(isAllowed: AddressRules, resolve: Resolve) {
    super();
    this.#isAllowed = isAllowed;
    this.#resolve = resolve;
  }

  /** Every other form of `connect`, such as the path of a Unix socket, is refused. */
  override connect(port: unknown, host?: unknown): this {
    if (typeof port !== 'number' || typeof host !== 'string') {
      return this.destroy(new OutboundFailure('address-not-allowed'));
    }
    // Node never looks up a host that is an IP address.
    if (isIP(host) !== 0 && !this.#isAllowed(host)) {
      return this.destroy(new OutboundFailure('address-not-allowed'));
    }
    const lookup = createCheckedLookup(this.#resolve, this.#isAllowed);
    return super.connect({ port, host, lookup });
  }
}
