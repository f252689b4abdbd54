import { describe, expect, it } from 'vitest';
import { createAddressRules } from '../../src/outbound/address-rules.ts';

const isPublic = createAddressRules([]);

describe('an address to which a connection may be made', () => {
  it.each([
    '8.8.8.8',
    '1.1.1.1',
    '193.0.0.1',
    '2606:4700::1111',
    '2a00:1450:4001::200e',
  ])('%s is public', (address) => {
    expect(isPublic(address)).toBe(true);
  });

  it.each([
    ['this host', '0.0.0.0'],
    ['this network', '0.1.2.3'],
    ['loopback', '127.0.0.1'],
    ['loopback', '127.255.255.254'],
    ['private', '10.0.0.1'],
    ['private', '172.16.0.1'],
    ['private', '172.31.255.255'],
    ['private', '192.168.1.1'],
    ['link-local, as of cloud metadata services', '169.254.169.254'],
    ['shared by carrier-grade NAT', '100.64.0.1'],
    ['reserved for protocols', '192.0.0.8'],
    ['documentation', '192.0.2.1'],
    ['documentation', '198.51.100.1'],
    ['documentation', '203.0.113.1'],
    ['benchmarks', '198.18.0.1'],
    ['multicast', '224.0.0.1'],
    ['reserved', '240.0.0.1'],
    ['broadcast', '255.255.255.255'],
    ['unspecified', '::'],
    ['loopback', '::1'],
    ['IPv4-mapped loopback', '::ffff:127.0.0.1'],
    ['IPv4-mapped, in hexadecimal', '::ffff:7f00:1'],
    ['IPv4-mapped private', '::ffff:10.0.0.1'],
    ['IPv4-compatible', '::127.0.0.1'],
    ['NAT64', '64:ff9b::7f00:1'],
    ['local-use NAT64', '64:ff9b:1::7f00:1'],
    ['6to4', '2002:7f00:1::'],
    ['Teredo', '2001:0:7f00:1::'],
    ['unique local', 'fd00::1'],
    ['unique local', 'fc00::1'],
    ['link-local', 'fe80::1'],
    ['link-local with a zone', 'fe80::1%eth0'],
    ['site-local', 'fec0::1'],
    ['multicast', 'ff02::1'],
    ['documentation', '2001:db8::1'],
    ['not allocated', '4000::1'],
    ['not allocated', 'abcd::1'],
    ['not an address', 'localhost'],
    ['not an address', ''],
    ['not an address', '127.1'],
    ['not an address', '0x7f000001'],
    ['not an address', '0177.0.0.1'],
  ])('is not one that is %s: %s', (_what, address) => {
    expect(isPublic(address)).toBe(false);
  });

  it('may be a private address that the operator has allowed, in any notation, but no other private address', () => {
    const rules = createAddressRules(['10.1.0.0/16', 'fd00:1::/32', '127.0.0.1/32']);
    const allowed = ['10.1.2.3', '::ffff:10.1.2.3', 'fd00:1::5', '127.0.0.1', '8.8.8.8'];
    expect(allowed.filter((address) => !rules(address))).toEqual([]);
    const others = ['10.2.0.1', '127.0.0.2', 'fd00:2::5', '::1', '169.254.169.254'];
    expect(others.filter(rules)).toEqual([]);
  });

  it.each([
    '10.0.0.0',
    '10.0.0.0/33',
    'localhost/8',
    '',
    '10.0.0/8/8',
  ])('cannot be allowed as %j', (block) => {
    expect(() => createAddressRules([block])).toThrow();
  });
});
