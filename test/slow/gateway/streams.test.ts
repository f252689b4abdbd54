import { request as httpRequest, type IncomingMessage } from 'node:http';
import { expect, it } from 'vitest';
import { systemClock } from '../../../src/platform/clock.ts';
import { bearer, type GatewayScene, startGateway } from '../../gateway/scene.ts';
import { eventually } from '../../support/eventually.ts';

const streams = 200;

interface Stream {
  response: IncomingMessage;
  /** When the last part arrived, in milliseconds. */
  lastAtMs: number;
  /** How it ended; undefined while it is open. */
  end: 'complete' | 'aborted' | undefined;
}

function open(scene: GatewayScene, token: string): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(scene.url);
    const path = `/${scene.resource.slug}/stream/x`;
    const options = { hostname, port, method: 'POST', path, headers: bearer(token), agent: false as const };
    const request = httpRequest(options, (response) => {
      const stream: Stream = { response, lastAtMs: 0, end: undefined };
      response.on('data', () => {
        stream.lastAtMs = performance.now();
      });
      response.on('end', () => {
        stream.end = 'complete';
      });
      response.on('error', () => {
        stream.end ??= 'aborted';
      });
      resolve(stream);
    });
    request.on('error', reject);
    request.end();
  });
}

it('two hundred open streams are cut when their grant is revoked, and those of another grant go on', async () => {
  const scene = await startGateway({ clock: systemClock });
  scene.upstream.respond = (_request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    const timer = setInterval(() => response.write('data: x\n\n'), 100);
    response.on('close', () => clearInterval(timer));
  };
  const [one, other] = [await scene.tokenFor(['write']), await scene.tokenFor(['write'])];
  const cut = await Promise.all(Array.from({ length: streams }, () => open(scene, one.token)));
  const kept = await Promise.all(Array.from({ length: 10 }, () => open(scene, other.token)));
  await scene.admin.post(`/v1/grants/${one.grantId}/revoke`, { reason: 'leaked' }).expect(200);
  const revokedAtMs = performance.now();
  await eventually(async () => expect(cut.filter(({ end }) => end === undefined)).toHaveLength(0));
  expect(new Set(cut.map(({ end }) => end))).toEqual(new Set(['aborted']));
  const slowest = Math.max(...cut.map(({ lastAtMs }) => lastAtMs)) - revokedAtMs;
  process.stdout.write(
    `the last byte of ${streams} streams came ${slowest.toFixed(0)} ms after the revocation\n`,
  );
  await eventually(async () => {
    const { body } = await scene.admin.get(`/v1/calls?grant_id=${one.grantId}&limit=200`).expect(200);
    expect(body.items.filter((call: { outcome: string }) => call.outcome === 'grant-ended')).toHaveLength(
      streams,
    );
  });
  expect(kept.map(({ end }) => end)).toEqual(kept.map(() => undefined));
  for (const { response } of kept) response.destroy();
});
