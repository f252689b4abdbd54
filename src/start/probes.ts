import type { RequestListener } from 'node:http';
import { sendPlainProblem } from './plain-answers.ts';

const probes: ReadonlySet<string> = new Set(['/healthz', '/readyz']);

/** Creates the listener of a replica that only runs jobs: it serves the probes, and responds 404 to everything else. */
export function onlyProbes(app: RequestListener): RequestListener {
  return (request, response) => {
    if (probes.has(request.url ?? '')) app(request, response);
    else sendPlainProblem(response, 'not-found');
  };
}
