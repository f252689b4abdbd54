import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { createAddressReader } from '../../src/http/address.ts';
import { asBootstrap, startBroker, type TestBroker } from '../support/broker.ts';

function read(trusted: string[], peer: string | undefined, ...forwarded: string[]): string {
  const rawHeaders = forwarded.flatMap((value) => ['X-Forwarded-For', value]);
  const request = { socket: { remoteAddress: peer }, rawHeaders };
  return createAddressReader(trusted)(request as unknown as IncomingMessage);
}
const proxies = ['10.0.0.0/8', 'fd00::/8'];

describe("a request's address", () => {
  it.each<[what: string, trusted: string[], peer: string | undefined, forwarded: string[], address: string]>([
    ['the peer if no proxy is trusted', [], '192.0.2.1', ['198.51.100.7'], '192.0.2.1'],
    ['the peer if it is not a trusted proxy', proxies, '192.0.2.1', ['198.51.100.7'], '192.0.2.1'],
    ['the one from a trusted proxy', proxies, '10.0.0.1', ['198.51.100.7'], '198.51.100.7'],
    [
      'the address that the nearest trusted proxy saw, not one that the client sent',
      proxies,
      '10.0.0.1',
      ['1.1.1.1, 198.51.100.7'],
      '198.51.100.7',
    ],
    [
      'found through several trusted proxies',
      proxies,
      '10.0.0.1',
      ['1.1.1.1, 198.51.100.7, 10.2.3.4'],
      '198.51.100.7',
    ],
    ['without the port that some proxies add', proxies, '10.0.0.1', ['198.51.100.7:50123'], '198.51.100.7'],
    ['without the port of an IPv6 address', proxies, '10.0.0.1', ['[2001:db8::1]:443'], '2001:db8::1'],
    ['found in several headers', proxies, '10.0.0.1', ['1.1.1.1', '198.51.100.7, 10.2.3.4'], '198.51.100.7'],
    ['a trusted one if there is no other', proxies, '10.0.0.1', ['10.2.3.4, 10.2.3.5'], '10.2.3.4'],
    ['not a number in another notation', proxies, '10.0.0.1', ['1.1.1.1, 0xc6336407, 10.2.3.4'], '10.2.3.4'],
    ['not one with fewer than four parts', proxies, '10.0.0.1', ['1.1.1.1, 198.51.7, 10.2.3.4'], '10.2.3.4'],
    ['not one with octal parts', proxies, '10.0.0.1', ['1.1.1.1, 0306.063.0144.07, 10.2.3.4'], '10.2.3.4'],
    ['the nearest valid one', proxies, '10.0.0.1', ['1.1.1.1, unknown, 10.2.3.4'], '10.2.3.4'],
    ['the peer if the header is empty', proxies, '10.0.0.1', [''], '10.0.0.1'],
    ['the peer if a trusted proxy sends no header', proxies, '10.0.0.1', [], '10.0.0.1'],
    ['IPv4 if it is mapped into IPv6', [], '::ffff:192.0.2.1', [], '192.0.2.1'],
    [
      'matched as IPv4 if the peer is mapped',
      proxies,
      '::ffff:10.0.0.1',
      ['::ffff:198.51.100.7'],
      '198.51.100.7',
    ],
    ['without its zone', [], 'fe80::1%eth0', [], 'fe80::1'],
    ['in normal form', proxies, 'fd00::1', ['2001:0DB8:0:0::1'], '2001:db8::1'],
    ['0.0.0.0 if the socket is closed', [], undefined, [], '0.0.0.0'],
  ])('is %s', (_what, trusted, peer, forwarded, address) => {
    expect(read(trusted, peer, ...forwarded)).toBe(address);
  });
});

describe('the audit log', () => {
  const recorded = async (broker: TestBroker): Promise<string> => {
    const answer = await asBootstrap(broker)
      .post('/v1/admins', { name: 'a', email: `${Math.random()}@example.com`, roles: [] })
      .set('X-Forwarded-For', '198.51.100.7')
      .set('Forwarded', 'for=198.51.100.8')
      .set('X-Real-IP', '198.51.100.9')
      .expect(201);
    const { rows } = await broker.database.owner.query(
      'select source_ip from audit_events where request_id = $1',
      [answer.headers['x-request-id']],
    );
    return rows[0]?.source_ip;
  };

  it('contains the address of the socket, regardless of the headers, unless the proxy is trusted', async () => {
    const broker = await startBroker();
    const behind = await startBroker({
      database: broker.database,
      config: { trustedProxies: ['127.0.0.0/8'] },
    });
    expect(await recorded(broker)).toBe('127.0.0.1');
    expect(await recorded(behind)).toBe('198.51.100.7');
  });
});
