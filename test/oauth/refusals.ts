import { BrokerError, type ErrorCode } from '../../src/errors.ts';

function codeIn(error: unknown): ErrorCode {
  if (!(error instanceof BrokerError)) throw new Error(`not a refusal: ${String(error)}`, { cause: error });
  return error.code;
}

/** Returns the code that `work` throws. */
export function codeThrown(work: () => unknown): ErrorCode {
  try {
    work();
  } catch (error) {
    return codeIn(error);
  }
  throw new Error('nothing was refused');
}

/** Returns the code with which `promise` rejects. */
export async function codeOf(promise: Promise<unknown>): Promise<ErrorCode> {
  const value = await promise.catch((error: unknown) => codeIn(error));
  if (!isCode(value)) throw new Error('nothing was refused');
  return value;
}

function isCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && /^[a-z]+(-[a-z]+)*$/.test(value);
}
