import fc from 'fast-check';
import { expect, test } from 'vitest';
import { findAccount, minimalEnvironment } from '../../../src/embedded/run-as.ts';

const passwd = [
  'root:x:0:0:root:/root:/bin/bash',
  'toor:x:0:0::/root:/bin/sh',
  'nobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin',
  'damaged',
  'postgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash',
  '',
].join('\n');

test('takes the first account by preference, not by its position in the file', () => {
  expect(findAccount(passwd, ['hallpass', 'postgres', 'nobody'])).toEqual({ uid: 101, gid: 104 });
  expect(findAccount(passwd, ['nobody', 'postgres'])).toEqual({ uid: 65534, gid: 65533 });
});

test('never takes an account with uid 0, nor one that does not exist', () => {
  expect(findAccount(passwd, ['toor', 'root', 'missing', 'damaged'])).toBeUndefined();
});

test('takes only accounts with numbers that are not root, with any contents of the file', () => {
  fc.assert(
    fc.property(fc.string(), fc.array(fc.string()), (text, names) => {
      const account = findAccount(`${text}\n${passwd}`, [...names, 'postgres']);
      return account === undefined || (account.uid > 0 && Number.isInteger(account.gid));
    }),
  );
});

test('the environment of server programs has no variable that could contain a secret', () => {
  expect(Object.keys(minimalEnvironment).sort()).toEqual(['LANG', 'LC_ALL', 'PATH', 'TZ']);
});
