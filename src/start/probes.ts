import type { RequestListener } from 'node:http';
import { sendPlainProblem } from './plain-answers.ts';

const probes: ReadonlySet<string> = new Set(['/healthz', '/readyz']);

/** What a replica that only works off jobs answers: whether it runs and is ready. Everything else is 404. */
export function onlyProbes(app: RequestListener): RequestListener {
  return (request, response) => {
    if (probes.has(request.url ?? '')) app(request, response);
    else sendPlainProblem(response, 'not-found');
  };
}
