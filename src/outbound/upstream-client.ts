import { isIP, type LookupFunction } from 'node:net';
import { LRUCache } from 'lru-cache';
import { Agent, type Dispatcher } from 'undici';
import type { AddressRules } from './address-rules.ts';
import { createCheckedLookup } from './checked-lookup.ts';
import { OutboundFailure } from './outbound-failure.ts';
import { createResolve, type Resolve } from './resolve.ts';

export interface UpstreamClientOptions {
  isAllowed: AddressRules;
  /** The addresses to which requests may go without TLS. */
  isAllowedInPlaintext: AddressRules;
  resolve?: Resolve;
  /** Certificates (PEM) that are trusted instead of those of Node, for upstreams without `ca`. For tests. */
  ca?: string;
}

/** Where and how an upstream is reached. */
export interface UpstreamEndpoint {
  /** An absolute http or https URL. */
  baseUrl: string;
  /** Certificates (PEM) to trust instead of those of the system; null for those of the system. */
  ca: string | null;
  connectSeconds: number;
  responseSeconds: number;
  idleSeconds: number;
}

export interface UpstreamClient {
  /**
   * Returns the dispatcher that sends requests to an upstream. It follows no redirect, and connects only to an address that was checked.
   * Throws `OutboundFailure` (`address-not-allowed`) if the host is an address that is not allowed.
   */
  dispatcherFor(upstream: UpstreamEndpoint): Dispatcher;
  close(): Promise<void>;
}

/** How many pools of connections are kept. */
const maxPools = 200;
/** Addresses are checked when a connection is made, so idle connections are closed soon. */
const keepAliveMs = 4_000;
const maxHeaderBytes = 64 * 1024;

/**
 * Creates the client by which the gateway sends calls to upstreams. Upstreams share
 * connections only if their origin, certificates and timeouts are the same.
 */
export function createUpstreamClient(options: UpstreamClientOptions): UpstreamClient {
  const { isAllowed, isAllowedInPlaintext, resolve = createResolve() } = options;
  const inPlaintext: AddressRules = (address) => isAllowed(address) && isAllowedInPlaintext(address);
  const pools = new LRUCache<string, Agent>({
    max: maxPools,
    // Requests in progress are completed.
    dispose: (pool) => void pool.close(),
  });
  return {
    dispatcherFor(upstream) {
      const { protocol, hostname, origin } = new URL(upstream.baseUrl);
      const rules = protocol === 'https:' ? isAllowed : inPlaintext;
      const host = hostname.replace(/^\[(.*)\]$/, '$1');
      // A host that is an address is never looked up.
      if (isIP(host) !== 0 && !rules(host)) throw new OutboundFailure('address-not-allowed');
      const { ca, connectSeconds, responseSeconds, idleSeconds } = upstream;
      const key = JSON.stringify([origin, ca, connectSeconds, responseSeconds, idleSeconds]);
      const known = pools.get(key);
      if (known !== undefined) return known;
      const pool = createPool(upstream, createCheckedLookup(resolve, rules), options.ca);
      pools.set(key, pool);
      return pool;
    },
    async close() {
      await Promise.all([...pools.values()].map((pool) => pool.destroy()));
    },
  };
}

function createPool(upstream: UpstreamEndpoint, lookup: LookupFunction, ca: string | undefined): Agent {
  const { connectSeconds, responseSeconds, idleSeconds } = upstream;
  const trusted = upstream.ca ?? ca;
  return new Agent({
    connect: {
      lookup,
      timeout: connectSeconds * 1000,
      ...(trusted === undefined ? {} : { ca: [trusted] }),
    },
    headersTimeout: responseSeconds * 1000,
    bodyTimeout: idleSeconds * 1000,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMs,
    maxHeaderSize: maxHeaderBytes,
    // Several requests on one connection would wait for each other's bodies.
    pipelining: 1,
  });
}
