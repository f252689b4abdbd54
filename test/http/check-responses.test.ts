import express from 'express';
import supertest from 'supertest';
import { describe, expect, it } from 'vitest';
import { compileContract } from '../../src/http/compiled-contract.ts';
import { createResponseCheck } from '../support/check-responses.ts';

const { document, validator } = compileContract();

/** Answers `GET /v1/agents` with `status` and `body` behind the check; returns what the client gets. */
async function answer(status: number, body: object) {
  const app = express();
  app.use(validator, createResponseCheck(document));
  app.get('/v1/agents', (_request, response) => void response.status(status).json(body));
  app.use(((error: Error, _request, response, _next) => {
    response.status(500).send(error.message);
  }) satisfies express.ErrorRequestHandler);
  return supertest(app).get('/v1/agents');
}

describe('the check of responses in tests', () => {
  it('lets a response pass that the contract describes', async () => {
    expect((await answer(200, { items: [], next_cursor: null })).status).toBe(200);
  });

  it.each<[string, number, object, string]>([
    ['a wrong type', 200, { items: {}, next_cursor: null }, 'response/items must be array'],
    ['a missing member', 200, { items: [] }, "response must have required property 'next_cursor'"],
    ['a member of an element', 200, { items: [{ id: 1 }], next_cursor: null }, 'response/items/0'],
    ['a status without a description', 418, { items: [] }, 'has no response 418'],
  ])('refuses %s', async (_, status, body, message) => {
    const { status: seen, text } = await answer(status, body);
    expect(seen).toBe(500);
    expect(text).toContain(message);
  });
});
