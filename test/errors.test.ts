import { describe, expect, it } from 'vitest';
import { BrokerError, errorTable, refuse } from '../src/errors.ts';

describe('errors', () => {
  it('have stable kebab-case codes, a status of the error classes and a title', () => {
    for (const [code, entry] of Object.entries(errorTable)) {
      expect(code).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(entry.status).toBeGreaterThanOrEqual(400);
      expect(entry.status).toBeLessThan(600);
      expect(entry.title).not.toBe('');
    }
  });

  it('do not reveal the internal text to the caller', () => {
    const error = new BrokerError('conflict', { detail: 'public text', internal: 'canary' });
    expect(
      `${error.message} ${JSON.stringify(error.entry)} ${JSON.stringify(error.extensions)}`,
    ).not.toContain('canary');
    expect(error.internal).toBe('canary');
  });

  it('can be a value, so that the work before a refusal is committed', () => {
    expect(refuse('self-approval').error).toMatchObject({ code: 'self-approval', entry: { status: 403 } });
  });
});
