import { BrokerError } from '../errors.ts';
import { assertCleanJson } from '../http/well-formed.ts';
import type { Detail } from './details-type.ts';

const mostDetails = 20;

/**
 * Reads the parameter `authorization_details` of a form (RFC 9396 section 3): a JSON array of objects that have a type.
 * Throws `invalid-authorization-details`, `invalid-request` for what is not clean.
 */
export function readAuthorizationDetails(text: string): Detail[] {
  const details = parse(text);
  assertCleanJson(details);
  if (!Array.isArray(details) || details.length === 0 || details.length > mostDetails) {
    throw malformed(`they are an array of 1 to ${mostDetails} objects`);
  }
  if (!details.every(isDetail)) throw malformed('each is an object with a type');
  return details;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw malformed('they are not JSON');
  }
}

function isDetail(value: unknown): value is Detail {
  return typeof value === 'object' && value !== null && typeof (value as Partial<Detail>).type === 'string';
}

function malformed(detail: string): BrokerError {
  return new BrokerError('invalid-authorization-details', { detail: `authorization_details: ${detail}` });
}
