import type { BrokerConfig } from '../../src/compose.ts';
import { MasterKey } from '../../src/crypto/master-key.ts';
import { parseIssuer } from '../../src/platform/issuer.ts';

/** The key of the person `bootstrap` in every test broker: admin, approver and auditor. */
export const bootstrapKey = `hpa_${'0123456789abcdefghijABCDEFGHIJKLMNOPQRSTUVW'}`;
export const testIssuer = 'https://hallpass.test';
export const testGatewayUrl = 'https://gateway.hallpass.test';
export const testMasterKey = new MasterKey(Buffer.alloc(32, 7));

/** Returns the default configuration of a test broker. */
export function testConfig(databaseUrl: string): BrokerConfig {
  const issuer = parseIssuer(testIssuer);
  if (issuer === undefined) throw new Error('the test issuer is not a valid issuer');
  return {
    databaseUrl,
    masterKey: testMasterKey,
    oldMasterKeys: [],
    issuer,
    gatewayUrl: parseIssuer(testGatewayUrl),
    logLevel: 'silent',
    trustedProxies: [],
    outboundAllow: [],
    targetAllow: ['127.0.0.0/8'],
    targetPlaintext: [],
    dpopNonce: 'required',
    preparedStatements: true,
    rateLimitPerSecond: 'off',
    bootstrapAdminKey: bootstrapKey,
  };
}
