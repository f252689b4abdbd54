import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { readFormBody } from '../../src/oauth/form-body.ts';
import { codeOf, codeThrown } from './refusals.ts';

const formType = 'application/x-www-form-urlencoded';

function requestOf(chunks: Buffer[], type: string | undefined): IncomingMessage {
  const rawHeaders = type === undefined ? [] : ['Content-Type', type];
  return Object.assign(Readable.from(chunks), { rawHeaders, headers: {} }) as unknown as IncomingMessage;
}

describe('a form body', () => {
  it('is assembled from its chunks, even if one ends within a character', async () => {
    const bytes = Buffer.from('a=é€😀');
    const chunks = [...bytes].map((byte) => Buffer.of(byte));
    expect(await readFormBody(requestOf(chunks, formType))).toBe('a=é€😀');
    expect(await readFormBody(requestOf([], formType))).toBe('');
  });

  it('may have 16,384 bytes and no more, in however many chunks', async () => {
    const half = Buffer.alloc(8192, 'a');
    expect(await readFormBody(requestOf([half, half], formType))).toHaveLength(16_384);
    const over = [
      [half, half, Buffer.of(97)],
      [Buffer.alloc(16_385, 'a')],
      Array.from({ length: 9 }, () => half),
    ];
    for (const chunks of over) {
      expect(await codeOf(readFormBody(requestOf(chunks, formType)))).toBe('content-too-large');
    }
  });

  it.each([
    formType,
    `${formType};charset=utf-8`,
    `${formType} ; charset=UTF-8`,
    formType.toUpperCase(),
  ])('is read with the content type %j', async (type) =>
    expect(await readFormBody(requestOf([Buffer.from('a=b')], type))).toBe('a=b'));

  it.each([
    undefined,
    '',
    'application/json',
    'multipart/form-data; boundary=x',
    'text/plain',
    `${formType}x`,
    `x${formType}`,
    `text/plain;${formType}`,
  ])('is refused with the content type %j', async (type) => {
    expect(codeThrown(() => readFormBody(requestOf([Buffer.from('a=b')], type)))).toBe(
      'unsupported-media-type',
    );
  });

  it('is refused as invalid-request if it is cut off', async () => {
    const cut = new Readable({ read() {} });
    const reading = readFormBody(
      Object.assign(cut, {
        rawHeaders: ['Content-Type', formType],
        headers: {},
      }) as unknown as IncomingMessage,
    );
    cut.push('grant_type=');
    cut.destroy(new Error('aborted'));
    expect(await codeOf(reading)).toBe('invalid-request');
  });
});
