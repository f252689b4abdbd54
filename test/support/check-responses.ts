import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import type { Request, RequestHandler } from 'express';
import { isInstant } from '../../src/http/date-time.ts';

/** What express-openapi-validator attaches to a request that matches an operation. */
interface Matched {
  openApiRoute: string;
  schema: { responses: Record<string, { $ref?: string }> };
}

/**
 * Creates a handler that throws if the JSON body of a response violates the contract. express-openapi-validator can do
 * the same, but compiles the whole contract again for each response of each operation.
 */
export function createResponseCheck(document: object): RequestHandler {
  const ajv = new Ajv2020({
    strict: false,
    validateSchema: false,
    formats: { 'date-time': isInstant, uri: URL.canParse },
  });
  ajv.addSchema(document, 'contract');
  return (request, response, next) => {
    const send = response.json.bind(response);
    response.json = (body: unknown) => {
      const validate = ajv.getSchema(`contract${pointerTo(request, response.statusCode)}`);
      assertConforms(validate, body);
      return send(body);
    };
    next();
  };
}

/** Returns where the contract has the schema of a response (a JSON pointer, RFC 6901). Throws if it has no such response. */
function pointerTo(request: Request, status: number): string {
  const { openApiRoute, schema } = (request as Request & { openapi: Matched }).openapi;
  const response = schema.responses[status];
  if (response === undefined) throw new Error(`${openApiRoute} has no response ${status} in the contract`);
  const path = openApiRoute.replaceAll('/', '~1');
  const pointer = response.$ref ?? `#/paths/${path}/${request.method.toLowerCase()}/responses/${status}`;
  return `${pointer}/content/application~1json/schema`;
}

function assertConforms(validate: ValidateFunction | undefined, body: unknown): void {
  if (validate === undefined) throw new Error('the contract has no JSON body for this response');
  // As the client receives it: without undefined members.
  if (validate(JSON.parse(JSON.stringify(body)))) return;
  const findings = validate.errors?.map(({ instancePath, message }) => `response${instancePath} ${message}`);
  throw new Error(`the response violates the contract: ${findings?.join('; ')}`);
}
