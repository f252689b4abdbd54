import { isIP, type LookupFunction } from 'node:net';
import { Agent, type Dispatcher } from 'undici';
import type { AddressRules } from './address-rules.ts';
import { OutboundFailure } from './outbound-failure.ts';
import { createResolve, type Resolve } from './resolve.ts';

export interface OutboundOptions {
  isAllowed: AddressRules;
  /** For everything: name, connection, headers and body. */
  timeoutMs?: number;
  maxBytes?: number;
  /** Certificates (PEM) to trust beside those that Node trusts. */
  ca?: string;
  resolve?: Resolve;
}

export interface OutboundClient {
  /**
   * Reads a JSON document. https only, no credentials in the URL, no redirects, no proxy; the connection is made to an
   * address that was checked, and to no other. Throws `OutboundFailure`.
   */
  getJson(url: string): Promise<unknown>;
  /** Whether it would call this URL, as far as can be told without looking its name up. */
  isFetchable(url: string): boolean;
  close(): Promise<void>;
}

const defaults = { timeoutMs: 5_000, maxBytes: 1024 * 1024 };

/** The one client through which the broker calls others: to read the keys of who signs for its agents. */
export function createOutboundClient(options: OutboundOptions): OutboundClient {
  const { isAllowed, timeoutMs, maxBytes, ca } = { ...defaults, ...options };
  const resolve = options.resolve ?? createResolve();
  const agent = new Agent({
    connect: {
      lookup: checkedLookup(resolve, isAllowed),
      timeout: timeoutMs,
      ...(ca === undefined ? {} : { ca: [ca] }),
    },
    // Checked at each connection: none lives on for much longer than it is used.
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
  // An address is not looked up when the connection is made. The URL parser has undone every other way to write it.
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0 && !isAllowed(host)) throw new OutboundFailure('address-not-allowed');
  return url;
}

/** Gives the socket addresses only if every address of the name is allowed: one that is not tells of a trick. */
function checkedLookup(resolve: Resolve, isAllowed: AddressRules): LookupFunction {
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

interface Limits {
  signal: AbortSignal;
  maxBytes: number;
}

async function read(agent: Dispatcher, url: URL, { signal, maxBytes }: Limits): Promise<string> {
  const { statusCode, body } = await agent.request({
    origin: url.origin,
    path: `${url.pathname}${url.search}`,
    method: 'GET',
    // What is not asked to be compressed cannot grow.
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
