import { BrokerError } from '../errors.ts';
import { canonicalJson } from '../platform/canonical-json.ts';

/** As in the contract (`AuthorizationDetails`). */
export const maxDetails = 20;
/** Every token carries the details, and many servers accept only 8 kB of headers. */
export const maxDetailsBytes = 4_096;

/** Describes how authorization details exceed a limit that is the same for every resource; undefined if they do not. */
export function sizeProblem(details: readonly unknown[]): string | undefined {
  if (details.length > maxDetails) return `authorization_details has more than ${maxDetails} elements`;
  if (Buffer.byteLength(canonicalJson(details)) <= maxDetailsBytes) return undefined;
  return `authorization_details is longer than ${maxDetailsBytes} bytes`;
}

/**
 * Throws `invalid-authorization-details` for details that exceed a limit. Call it before anything is decided or recorded: a
 * refusal by policy writes the requested details into the audit log.
 */
export function assertDetailsSize(details: readonly unknown[] | null): void {
  const problem = details === null ? undefined : sizeProblem(details);
  if (problem !== undefined) throw new BrokerError('invalid-authorization-details', { detail: problem });
}
