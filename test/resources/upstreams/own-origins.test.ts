import { describe, expect, it } from 'vitest';
import { baseUrlProblem } from '../../../src/resources/upstreams/upstream.ts';

const own = ['https://hallpass.test', 'https://gateway.hallpass.test'];

describe('a base URL', () => {
  it.each([
    'https://hallpass.test.',
    'https://gateway.hallpass.test./v1',
    'http://localhost:8080',
    'http://localhost.:8080',
    'http://broker.localhost:8080/v1',
    'http://127.0.0.1:8080',
    'http://127.0.0.2:8080',
    'http://0.0.0.0:8080',
    'http://[::1]:8080',
    'http://[::]:8080',
    'http://[::ffff:7f00:1]:8080',
  ])('may not be another name of the broker or its gateway: %s', (text) => {
    const atBroker = 'base_url must not be at the broker or its gateway';
    for (const local of ['http://127.0.0.1:8080', 'http://localhost:8080', 'http://[::1]:8080'])
      expect(baseUrlProblem(text, [...own, local])).toBe(atBroker);
  });

  it.each([
    'http://localhost:8081',
    'http://127.0.0.1',
    'http://128.0.0.1:8080',
    'http://notlocalhost:8080',
    'http://localhost.example:8080',
    'http://[::2]:8080',
    'http://[::ffff:a00:7]:8080',
    'https://hallpass.test:8443',
    'https://api.hallpass.test',
    'https://test.',
  ])('may be another server: %s', (text) => {
    expect(baseUrlProblem(text, [...own, 'http://127.0.0.1:8080'])).toBeUndefined();
  });
});
