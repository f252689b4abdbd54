import { type Agent, type IncomingMessage, request } from 'node:http';
import type { AnyJson } from '../../support/any-json.ts';

export interface Message {
  method?: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  path: string;
  bearer?: string | undefined;
  /** The credentials for HTTP Basic, `id:secret`. */
  basic?: string | undefined;
  json?: object | undefined;
  form?: Record<string, string> | undefined;
  headers?: Record<string, string>;
}

export interface Reply {
  status: number;
  requestId: string | undefined;
  /** The nonce for the next DPoP proof. */
  nonce: string | undefined;
  body: AnyJson;
}

/** `unreached`: no process was listening, so the request had no effect. `broken`: no response was received. */
export type Silence = 'unreached' | 'broken';

/** Longer than the broker's response takes under any of the faults. Requests that take longer are given up. */
const patienceMs = 15_000;

function bodyOf({ json, form }: Message): { text: string; type: string } | undefined {
  if (json !== undefined) return { text: JSON.stringify(json), type: 'application/json' };
  if (form === undefined) return undefined;
  return { text: new URLSearchParams(form).toString(), type: 'application/x-www-form-urlencoded' };
}

function authorizationOf({ bearer, basic }: Message): Record<string, string> {
  if (bearer !== undefined) return { Authorization: `Bearer ${bearer}` };
  if (basic !== undefined) return { Authorization: `Basic ${Buffer.from(basic).toString('base64')}` };
  return {};
}

async function read(response: IncomingMessage): Promise<Reply> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  const header = (name: string): string | undefined => {
    const value = response.headers[name];
    return typeof value === 'string' ? value : undefined;
  };
  return {
    status: response.statusCode ?? 0,
    requestId: header('x-request-id'),
    nonce: header('dpop-nonce'),
    body: text === '' ? undefined : JSON.parse(text),
  };
}

const isUnreached = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED';

/** Sends one request over a connection of `agent`. Never throws: returns the response, or why there is none. */
export async function exchange(url: string, message: Message, agent: Agent): Promise<Reply | Silence> {
  const body = bodyOf(message);
  const typed = body === undefined ? {} : { 'Content-Type': body.type };
  const headers = { ...message.headers, ...authorizationOf(message), ...typed };
  const method = message.method ?? (body === undefined ? 'GET' : 'POST');
  const signal = AbortSignal.timeout(patienceMs);
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = request(`${url}${message.path}`, { method, headers, agent, signal }, resolve);
      outgoing.on('error', reject);
      outgoing.end(body?.text);
    });
    return await read(response);
  } catch (error) {
    return isUnreached(error) ? 'unreached' : 'broken';
  }
}
