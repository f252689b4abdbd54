import { OutboundFailure } from '../outbound/outbound-failure.ts';
import { TargetFailure, type TargetProblemCode } from './target-failure.ts';

/** The codes of OpenSSL and Node for a failed handshake or a certificate that is not accepted. */
const tlsCodes =
  /^(ERR_(TLS|SSL|OSSL)|EPROTO$|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_(CA|PURPOSE)|HOSTNAME_MISMATCH|PATH_LENGTH_)/;
const timeoutMessages = /timeout|timed out/i;

/** Converts an error of a socket, of TLS or of a client library, which is not an answer of the server. */
export function fromConnection(error: unknown): TargetFailure {
  if (error instanceof OutboundFailure) return fromSocket(error);
  const message = error instanceof Error ? error.message : 'unknown error';
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return new TargetFailure(problemOf(code, message), code === '' ? message : `${message} (${code})`);
}

function problemOf(code: string, message: string): TargetProblemCode {
  if (tlsCodes.test(code)) return 'tls-failed';
  return code === 'ETIMEDOUT' || timeoutMessages.test(message) ? 'timed-out' : 'unreachable';
}

function fromSocket({ problem }: OutboundFailure): TargetFailure {
  if (problem === 'address-not-allowed') {
    return new TargetFailure(problem, 'the rules for targets do not allow this address');
  }
  return new TargetFailure('name-not-found', 'the host name has no address');
}
