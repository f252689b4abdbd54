import { isIP } from 'node:net';
import { Agent, type Dispatcher } from 'undici';
import type { AddressRules } from './address-rules.ts';
import { createCheckedLookup } from './checked-lookup.ts';
import { OutboundFailure } from './outbound-failure.ts';
import { createResolve, type Resolve } from './resolve.ts';

export interface OutboundOptions {
  isAllowed: AddressRules;
  /** The timeout of a whole request: name resolution, connection, headers and body. */
  timeoutMs?: number;
  maxBytes?: number;
  /** Certificates (PEM) that are trusted instead of those of Node. */
  ca?: string;
  resolve?: Resolve;
}

export interface OutboundClient {
  /**
   * Reads a JSON document. Allows https only, and no credentials in the URL, redirects or proxies; connects only to
   * an address that was checked. Throws `OutboundFailure`.
   */
  getJson(url: string): Promise<unknown>;
  /** Whether `getJson` would request this URL, without a look-up of its host name. */
  isFetchable(url: string): boolean;
  close(): Promise<void>;
}

const defaults = { timeoutMs: 5_000, maxBytes: 1024 * 1024 };

/** Creates the only client for outbound requests. It reads the key sets of trusted issuers and of agents. */
export function createOutboundClient(options: OutboundOptions): OutboundClient {
  const { isAllowed, timeoutMs, maxBytes, ca } = { ...defaults, ...options };
  const resolve = options.resolve ?? createResolve();
  const agent = new Agent({
    connect: {
      lookup: createCheckedLookup(resolve, isAllowed),
      timeout: timeoutMs,
      ...(ca === undefined ? {} : { ca: [ca] }),
    },
    // Addresses are checked when a connection is made, so idle connections are closed soon.
    keepAliveTimeout: 1_000,
    keepAliveMaxTimeout: 1_000,
    maxHeaderSize: 16_384,
  });
  return {
    async getJson(text) {
      const url = parseUrl(text, isAllowed);
      const signal = AbortSignal.timeout(timeoutMs);
      try {
        return parseJson(await read(agent, url, { signal, maxBytes }));
      } catch (error) {
        throw asFailure(error, signal);
      }
    },
    isFetchable(text) {
      try {
        return parseUrl(text, isAllowed).hash === '';
      } catch {
        return false;
      }
    },
    close: () => agent.destroy(),
  };
}

function parseUrl(text: string, isAllowed: AddressRules): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '') {
    throw new OutboundFailure('url-not-allowed');
  }
  // A host that is an IP address is never looked up. The URL parser has already normalised it.
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0 && !isAllowed(host)) throw new OutboundFailure('address-not-allowed');
  return url;
}

interface Limits {
  signal: AbortSignal;
  maxBytes: number;
}

async function read(agent: Dispatcher, url: URL, { signal, maxBytes }: Limits): Promise<string> {
  const { statusCode, body } = await agent.request({
    origin: url.origin,
    path: `${url.pathname}${url.search}`,
    method: 'GET',
    // A response that is not compressed cannot exceed `maxBytes` by decompression.
    headers: { accept: 'application/json', 'accept-encoding': 'identity', 'user-agent': 'hallpass' },
    signal,
  });
  body.on('error', () => {});
  if (statusCode !== 200) {
    body.destroy();
    throw new OutboundFailure(statusCode >= 300 && statusCode < 400 ? 'redirected' : 'refused');
  }
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw new OutboundFailure('too-large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new OutboundFailure('not-json');
  }
}

function asFailure(error: unknown, signal: AbortSignal): OutboundFailure {
  if (error instanceof OutboundFailure) return error;
  return new OutboundFailure(signal.aborted ? 'timed-out' : 'not-connected', { cause: error });
}
