import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';

/** A request that is sent exactly as given: nothing is normalized, added or left out. */
export interface WireRequest {
  method: string;
  path: string;
  headers: Record<string, string | string[]>;
  body?: string | Buffer | undefined;
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  /** The body if it is JSON, otherwise an empty object. */
  json: Record<string, unknown>;
}

const agent = new Agent({ keepAlive: true });

export function send(broker: { url: string }, wire: WireRequest): Promise<Answer> {
  const { method, path, headers, body } = wire;
  const { hostname, port } = new URL(broker.url);
  const chunked = body === undefined || 'Transfer-Encoding' in headers;
  const length = chunked ? {} : { 'Content-Length': Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const options = { agent, hostname, port, method, path, headers: { ...length, ...headers } };
    const call = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const isJson = /json/.test(response.headers['content-type'] ?? '');
        const json: Record<string, unknown> = isJson && text !== '' ? JSON.parse(text) : {};
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json });
      });
    });
    call.on('error', reject);
    call.end(body);
  });
}

/** Writes `text` to a new connection and returns everything that is received. */
export function sendRaw(broker: { url: string }, text: string): Promise<string> {
  const { hostname, port } = new URL(broker.url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(text));
    let received = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      received += chunk;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(received));
  });
}

export function bearer(credential: string | undefined): Record<string, string> {
  return credential === undefined ? {} : { Authorization: `Bearer ${credential}` };
}
