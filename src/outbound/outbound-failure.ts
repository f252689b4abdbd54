/** Why an outbound request failed. */
export type OutboundProblem =
  | 'url-not-allowed'
  | 'address-not-allowed'
  | 'name-not-found'
  | 'not-connected'
  | 'timed-out'
  | 'redirected'
  | 'refused'
  | 'too-large'
  | 'not-json'
  | 'not-its-metadata'
  | 'not-a-key-set';

/**
 * Error thrown when an outbound request fails. It is not a BrokerError: the caller decides what the failure means for
 * the request that it serves.
 */
export class OutboundFailure extends Error {
  readonly problem: OutboundProblem;

  constructor(problem: OutboundProblem, options: { cause?: unknown } = {}) {
    super(problem, options);
    this.name = 'OutboundFailure';
    this.problem = problem;
  }
}
