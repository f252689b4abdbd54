/** IPv4 loopback (RFC 1122), also as an IPv6 address, and the address that means this host, which Linux connects to loopback. */
const localAddress =
  /^(?:127(?:\.\d+){3}|0\.0\.0\.0|\[::1?\]|\[::ffff:(?:7f[0-9a-f]{2}:[0-9a-f]{1,4}|0:0)\])$/;

/** Returns the origin of a URL, without a dot at the end of the host. All names of this machine become `localhost`. */
function originOf(url: URL): string {
  const hostname = url.hostname.replace(/\.+$/, '');
  const isLocal = hostname === 'localhost' || hostname.endsWith('.localhost') || localAddress.test(hostname);
  return `${url.protocol}//${isLocal ? 'localhost' : hostname}:${url.port}`;
}

/** Whether a URL is at one of these origins, also by another name of the same host. Names are not resolved. */
export function isAtOneOf(url: URL, origins: readonly string[]): boolean {
  const origin = originOf(url);
  return origins.some((own) => originOf(new URL(own)) === origin);
}
