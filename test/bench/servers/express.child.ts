import type { AddressInfo } from 'node:net';
import express from 'express';

/** A bare Express route that parses the form and sends a constant: the minimum cost of any handler with Express. */
const app = express();
app.post('/token', express.urlencoded({ extended: false }), (request, response) => {
  const { scope } = request.body as { scope: string };
  response.json({ access_token: 'x'.repeat(500), token_type: 'Bearer', expires_in: 300, scope });
});
const server = app.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  const form = 'grant_type=client_credentials&resource=https%3A%2F%2Fapi.example&scope=read';
  process.stdout.write(`${JSON.stringify({ url, authorization: 'Basic eDp5', form })}\n`);
});
process.once('SIGTERM', () => process.exit(0));
