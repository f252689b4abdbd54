import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';

const production = {
  DATABASE_URL: 'postgres://app@db.internal/hallpass',
  HALLPASS_MASTER_KEY: randomBytes(32).toString('base64url'),
  HALLPASS_PUBLIC_URL: 'https://hallpass.example',
};

describe('the configuration of the gateway', () => {
  it('needs no URL of the gateway in production, except for the role gateway', () => {
    expect(readConfig(production).gatewayUrl).toBeUndefined();
    const asGateway = { ...production, HALLPASS_ROLE: 'gateway' };
    expect(() => readConfig(asGateway)).toThrow('HALLPASS_GATEWAY_URL is missing (HALLPASS_ROLE is gateway)');
    const url = 'https://gateway.hallpass.example';
    expect(readConfig({ ...asGateway, HALLPASS_GATEWAY_URL: url })).toMatchObject({
      role: 'gateway',
      gatewayUrl: url,
    });
  });

  it('refuses a gateway at the origin of the issuer, and accepts it at another port', () => {
    const same = { ...production, HALLPASS_GATEWAY_URL: production.HALLPASS_PUBLIC_URL };
    expect(() => readConfig(same)).toThrow(
      'HALLPASS_GATEWAY_URL must have another origin than HALLPASS_PUBLIC_URL',
    );
    const other = `${production.HALLPASS_PUBLIC_URL}:8443`;
    expect(readConfig({ ...production, HALLPASS_GATEWAY_URL: other }).gatewayUrl).toBe(other);
  });
});
