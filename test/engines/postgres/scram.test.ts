import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { computeVerifier } from '../../../src/engines/postgres/scram.ts';

/** The exchange of RFC 7677 section 3. */
const example = {
  password: 'pencil',
  salt: Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64'),
  authMessage: [
    'n=user,r=rOprNGfwEbeRWgbNEkqO',
    'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
  ].join(','),
  serverSignature: '6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
};

describe('the verifier of a password', () => {
  it('has the form that PostgreSQL stores, and the server key of the example of RFC 7677', async () => {
    const verifier = await computeVerifier(example.password, example.salt);
    const form =
      /^SCRAM-SHA-256\$4096:W22ZaJ0SNY7soEsUEjb6gQ==\$(?<stored>[\w+/]{43}=):(?<server>[\w+/]{43}=)$/;
    const serverKey = Buffer.from(form.exec(verifier)?.groups?.server ?? '', 'base64');
    const signature = createHmac('sha256', serverKey).update(example.authMessage).digest('base64');
    expect(signature).toBe(example.serverSignature);
  });

  it('is not computed for a password that SASLprep might change, or that is empty', async () => {
    for (const password of ['', 'a b', 'ünïcode', 'soft\u00adhyphen', 'a\n']) {
      await expect(computeVerifier(password, example.salt)).rejects.toThrow(TypeError);
    }
  });
});
