import type { RequestListener } from 'node:http';

const probes: ReadonlySet<string> = new Set(['/healthz', '/readyz']);

/** What a replica that only works off jobs answers: whether it runs and is ready. Everything else is 404. */
export function onlyProbes(app: RequestListener): RequestListener {
  return (request, response) => {
    if (probes.has(request.url ?? '')) app(request, response);
    else response.writeHead(404, { 'Cache-Control': 'no-store' }).end();
  };
}
