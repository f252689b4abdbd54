/** Why a call of ours to somebody else came to nothing. */
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

/** No BrokerError until it is known whose request it was for, and what that means for it. */
export class OutboundFailure extends Error {
  readonly problem: OutboundProblem;

  constructor(problem: OutboundProblem, options: { cause?: unknown } = {}) {
    super(problem, options);
    this.name = 'OutboundFailure';
    this.problem = problem;
  }
}
