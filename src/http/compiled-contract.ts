import type { RequestHandler } from 'express';
import * as openApiValidator from 'express-openapi-validator';
import { type Contract, readContract } from './contract.ts';
import { isInstant } from './date-time.ts';

/** The contract with the Express handlers that validate requests against it. */
export interface CompiledContract extends Contract {
  validator: RequestHandler[];
}

/**
 * Reads the contract and creates its validator, which compiles the schemas of an operation at its first request.
 * Several apps may share the result: it keeps no state of a request. The validator registers its path parameter
 * handlers with its first app only, which is harmless because every path parameter is a string, as in Express.
 */
export function compileContract(): CompiledContract {
  const contract = readContract();
  const validator = openApiValidator.middleware({
    apiSpec: structuredClone(contract.document) as never,
    validateRequests: { allowUnknownQueryParameters: false },
    validateResponses: false,
    validateSecurity: false,
    validateApiSpec: false,
    formats: { 'date-time': { type: 'string', validate: isInstant } },
  });
  return { ...contract, validator: validator as RequestHandler[] };
}
