import { describe, expect, it } from 'vitest';
import { BrokerError } from '../../src/errors.ts';
import { createLog } from '../../src/platform/log.ts';

function capture() {
  const lines: string[] = [];
  const log = createLog('info', { write: (line: string) => lines.push(line) });
  return { lines, log, last: () => JSON.parse(lines.at(-1) ?? '{}') };
}

describe('log', () => {
  it('drops every field that is not on the allow-list', () => {
    const { log, lines, last } = capture();
    const hostile = { request_id: 'req_1', authorization: 'Bearer canary', body: { password: 'canary' } };
    log.info('hello', hostile);
    expect(last()).toMatchObject({ msg: 'hello', request_id: 'req_1' });
    expect(lines.join()).not.toContain('canary');
  });

  it('writes the name, code, message and stack of an error, and nothing that a driver attached to it', () => {
    const { log, lines, last } = capture();
    const error = Object.assign(new Error('boom'), {
      code: '23505',
      parameters: ['canary'],
      row: { k: 'canary' },
    });
    log.error('failed', { err: error });
    expect(last().err).toMatchObject({ name: 'Error', code: '23505', message: 'boom' });
    expect(lines.join()).not.toContain('canary');
    log.error('failed', { err: new BrokerError('conflict', { internal: 'why' }) });
    expect(last().err).toMatchObject({ code: 'conflict', internal: 'why' });
  });

  it('encodes control characters, so that a value cannot forge a line', () => {
    const { log, lines } = capture();
    log.info('x', { path: 'a\n{"level":60}\u001b[31m' });
    expect(lines).toHaveLength(1);
    expect(lines[0]?.trimEnd().split('\n')).toHaveLength(1);
    expect(lines[0]).not.toContain('\u001b');
  });

  it('stays silent below its level', () => {
    const { log, lines } = capture();
    log.debug('no');
    expect(lines).toEqual([]);
  });
});
