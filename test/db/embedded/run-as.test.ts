import fc from 'fast-check';
import { expect, test } from 'vitest';
import { findAccount, minimalEnvironment } from '../../../src/db/embedded/run-as.ts';

const passwd = [
  'root:x:0:0:root:/root:/bin/bash',
  'toor:x:0:0::/root:/bin/sh',
  'nobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin',
  'damaged',
  'postgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash',
  '',
].join('\n');

test('takes the first account by preference, not by its place in the file', () => {
  expect(findAccount(passwd, ['hallpass', 'postgres', 'nobody'])).toEqual({ uid: 101, gid: 104 });
  expect(findAccount(passwd, ['nobody', 'postgres'])).toEqual({ uid: 65534, gid: 65533 });
});

test('never takes an account that is root by another name, nor one that is not there', () => {
  expect(findAccount(passwd, ['toor', 'root', 'missing', 'damaged'])).toBeUndefined();
});

test('whatever the file holds, an account has numbers and is not root', () => {
  fc.assert(
    fc.property(fc.string(), fc.array(fc.string()), (text, names) => {
      const account = findAccount(`${text}\n${passwd}`, [...names, 'postgres']);
      return account === undefined || (account.uid > 0 && Number.isInteger(account.gid));
    }),
  );
});

test('the environment of server programs has no name that could carry a secret', () => {
  expect(Object.keys(minimalEnvironment).sort()).toEqual(['LANG', 'LC_ALL', 'PATH', 'TZ']);
});
