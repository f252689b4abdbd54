import { BrokerError } from '../errors.ts';
import { assertCleanJson } from '../http/well-formed.ts';
import type { Detail } from './details-type.ts';
import { assertDetailsSize, maxDetails } from './size.ts';

/** As in the contract (`DetailType`). */
const detailType = /^[!-~]{1,128}$/;

/**
 * Reads the form parameter `authorization_details` (RFC 9396 section 3): a JSON array of objects with a type. Throws
 * `invalid-authorization-details`, or `invalid-request` for text that `assertCleanJson` refuses.
 */
export function readAuthorizationDetails(text: string): Detail[] {
  const details = parse(text);
  assertCleanJson(details);
  if (!Array.isArray(details) || details.length === 0 || details.length > maxDetails) {
    throw malformed(`must be an array of 1 to ${maxDetails} objects`);
  }
  assertDetailsSize(details);
  if (!details.every(isDetail)) throw malformed('each must be an object with a type');
  return details;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw malformed('must be JSON');
  }
}

function isDetail(value: unknown): value is Detail {
  if (typeof value !== 'object' || value === null) return false;
  const { type } = value as Partial<Detail>;
  return typeof type === 'string' && detailType.test(type);
}

function malformed(detail: string): BrokerError {
  return new BrokerError('invalid-authorization-details', { detail: `authorization_details: ${detail}` });
}
